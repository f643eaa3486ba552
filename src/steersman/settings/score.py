"""Settings of scorers (reward models, classifiers, functions, HTTP services) and of the command `score`."""

from typing import Literal

from pydantic import Field, model_validator

from steersman.settings.base import Settings
from steersman.settings.columns import ColumnSettings
from steersman.settings.judge import JudgeSettings
from steersman.settings.parts import Template


class SourceSettings(Settings):
    """A source of records, read whole and without a held-out share."""

    source: str
    """A file, a folder, a hub id, or a named source such as harbour:answers."""
    format: str | None = None
    """Name of the data format; detected from the field names if not given."""
    columns: ColumnSettings | None = None
    """Columns of a table with names of its own, such as columns.prompt=question (docs/data.md)."""
    split: str | None = None
    """The split of a data set: train, validation, test …"""
    template: Template = "auto"
    """auto: a plain prompt is a user message to a model with a chat template, unless its row says `continue`. chat:
    also to a model without one, which gets ours. none: plain prompts are continued as they are."""
    limit: int | None = Field(default=None, ge=1)
    """Use at most this many records."""
    strict: bool = False
    """Stop at the first malformed row instead of leaving it out."""


class HttpSettings(Settings):
    """A scorer behind HTTP (path = "https://…"). docs/scorers.md describes requests and replies."""

    batch_size: int = Field(default=16, ge=1)
    """Answers per request."""
    at_once: int = Field(default=4, ge=1)
    """Maximum number of concurrent requests."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds to wait for a complete reply before the request is sent again."""
    patience: float = Field(default=900.0, gt=0)
    """Seconds without a usable reply after which the run stops (exit code 9). The same command resumes it later."""
    allow: list[str] = Field(default_factory=list)
    """Private addresses or networks that may be contacted, such as 127.0.0.1 or 10.0.0.0/8. Public ones always may."""
    token_env: str | None = None
    """Environment variable with a token, sent as Authorization: Bearer."""


class VerifySettings(Settings):
    """Verifiable rewards (path = "verify:exact", "verify:numeric" or "verify:regex")."""

    field: str | None = None
    """Metadata field of the prompt with the right answer; the first of answer, ground_truth and solution if not
    given."""
    pattern: str | None = None
    """Regular expression that extracts the part of the answer to compare: its last match, or the one group in it."""
    tolerance: float = Field(default=1e-6, ge=0)
    """Allowed error of a number: relative to the right one if that is 1 or more, else absolute."""
    ignore_case: bool = False
    """Compare without regard to upper and lower case."""


class OpeningSettings(Settings):
    """Settings that scorers of all types share."""

    belief: Literal["mean", "min", "pessimistic"] = "mean"
    """An ensemble's score: the mean of its members, their minimum, or the mean less `pessimism` standard deviations."""
    pessimism: float = Field(default=1.0, ge=0)
    """Standard deviations over the members that belief=pessimistic subtracts."""
    positive: str | None = None
    """The class of a classifier whose logit is the score, if the model folder does not say."""
    output: Literal["logit", "probability"] = "logit"
    """A classifier's score. The logit is unbounded and suits training; the probability suits evaluation."""
    reads: Literal["conversation", "pair", "answer"] | None = None
    """A classifier's input. If not given: the answer alone; for a classifier with one label, prompt and answer."""
    normalised: bool = True
    """Scale a reward model's scores so that its reference answers have mean 0 and standard deviation 1."""
    max_length: int | None = Field(default=None, ge=2)
    """Truncate longer conversations (in tokens). The model's own maximum length always applies."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto is float32 on a CPU and bfloat16 on a GPU."""
    tokens_per_micro_batch: int | None = Field(default=None, ge=1)
    """Padded tokens per forward pass. Changes memory and speed, not the scores. Chosen by device if not given."""
    revision: str | None = None
    """Commit, tag or branch of a model of the hub."""
    trust_remote_code: bool = False
    """Run Python code from the model's repository. Needs `revision`, which pins that code."""
    http: HttpSettings = HttpSettings()
    verify: VerifySettings = VerifySettings()
    judge: JudgeSettings = JudgeSettings()
    """An AI judge (path = "judge:CONSTITUTION"). docs/judge.md."""


class PartSettings(OpeningSettings):
    """One scorer in a weighted sum."""

    path: str | list[str]
    """A reward model, a classifier, file.py:function, a URL, verify:numeric or judge:CONSTITUTION; several are an
    ensemble."""
    weight: float = 1.0
    """Its factor in the sum."""
    normalise: Literal["none", "reference"] = "none"
    """reference normalises its scores so that the reference answers have mean 0 and standard deviation 1."""
    scale: tuple[float, float] | None = None
    """A known mean and standard deviation to normalise by."""
    clip: float | None = Field(default=None, gt=0)
    """Clip its scores to [-clip, clip], after normalisation."""


class ScorerSettings(OpeningSettings):
    path: str | list[str] | None = None
    """A reward model (folder, run or hub id), a classifier, file.py:function, a URL (https://…), verify:numeric, or an
    AI judge as judge:CONSTITUTION. Several are an ensemble."""
    sum: dict[str, PartSettings] = Field(default_factory=dict)
    """Instead of `path`: scorers by names that you choose, each with a weight. The score is their weighted sum."""
    length_controlled: bool = False
    """Subtract the linear effect of an answer's length on its score, as measured on `reference`."""
    reference: str | None = None
    """Typical answers (a file or a source). length_controlled and parts with normalise=reference are measured on
    them."""
    reference_answers: int = Field(default=256, ge=2)
    """Use at most this many reference answers."""

    @model_validator(mode="after")
    def _one_or_a_sum(self) -> "ScorerSettings":
        if bool(self.sum) == (self.path is not None):
            seen = "both" if self.sum else "neither"
            raise ValueError(
                f"expected either scorer.path or the parts of a sum as scorer.sum.<name>.path; seen {seen}"
            )
        measured = [name for name, part in self.sum.items() if part.normalise == "reference"]
        if measured and self.reference is None:
            raise ValueError(
                f"sum.{measured[0]}.normalise=reference is measured on reference answers; give scorer.reference, a "
                "file or a source"
            )
        if self.length_controlled and self.reference is None:
            raise ValueError(
                "length_controlled is measured on reference answers; give scorer.reference, a file or a source such as "
                "your demonstrations"
            )
        return self


JUDGE = "judge:"


def is_judge(path: str | list[str] | None) -> bool:
    return isinstance(path, str) and path.startswith(JUDGE)


def judged_by(scorer: ScorerSettings, model: str) -> ScorerSettings:
    """The scorer, with this model as the judge, and as the one whose answers are compared with, where none is named."""

    def named(settings: OpeningSettings) -> JudgeSettings:
        judge = settings.judge
        return judge.model_copy(update={"model": judge.model or model, "reference": judge.reference or model})

    if is_judge(scorer.path):
        return scorer.model_copy(update={"judge": named(scorer)})
    judges = {name: part for name, part in scorer.sum.items() if is_judge(part.path)}
    if not judges:
        return scorer
    parts = {name: part.model_copy(update={"judge": named(part)}) for name, part in judges.items()}
    return scorer.model_copy(update={"sum": {**scorer.sum, **parts}})


class ScoreSettings(Settings):
    data: SourceSettings
    scorer: ScorerSettings
    name: str | None = None
    """Key of the score in each answer's `scores`; the scorer's own name if not given."""
    parts: bool = False
    """Also write what the score was computed from, as name/part: each member's score, their deviation, the raw
    score."""
    out: str
    """The file to write: .jsonl or .jsonl.gz."""
    force: bool = False
    """Overwrite the file if it is there already."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
