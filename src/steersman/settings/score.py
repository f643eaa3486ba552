"""Settings of scoring answers, and of a scorer wherever one is needed."""

from typing import Literal

from pydantic import Field, model_validator

from steersman.settings.base import Settings


class SourceSettings(Settings):
    """Records that are only read."""

    source: str
    """A file, a folder, a hub id, or a named source such as harbour:answers."""
    format: str | None = None
    """Recognised by the field names unless given."""
    split: str | None = None
    limit: int | None = Field(default=None, ge=1)
    """Use at most so many records."""
    strict: bool = False
    """Stop at the first bad row instead of leaving it out."""


class HttpSettings(Settings):
    """A scorer behind HTTP (path = "https://…"); see docs/scorers.md for what is sent and what is expected."""

    batch_size: int = Field(default=16, ge=1)
    """Answers in one request."""
    at_once: int = Field(default=4, ge=1)
    """Requests that may wait for their replies at the same time."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds until a request without a whole reply is given up and sent again."""
    patience: float = Field(default=900.0, gt=0)
    """Seconds until a service that gives no usable reply ends the run (exit code 9); it goes on from there later."""
    allow: list[str] = Field(default_factory=list)
    """Addresses or networks that may be reached although they are not on the public internet, such as 127.0.0.1 or 10.0.0.0/8."""
    token_env: str | None = None
    """The environment variable that holds a token, which is sent as Authorization: Bearer."""


class VerifySettings(Settings):
    """Answers that can be checked (path = "verify:exact", "verify:numeric" or "verify:regex")."""

    field: str | None = None
    """The prompt's field that holds the right answer; the first of answer, ground_truth and solution if not given."""
    pattern: str | None = None
    """A regular expression whose last match, or the one group in it, is what of the answer is compared."""
    tolerance: float = Field(default=1e-6, ge=0)
    """How far a number may be from the right one, as a share of it (below 1: as it is)."""
    ignore_case: bool = False


class OpeningSettings(Settings):
    """How scorers are opened, whatever they are."""

    belief: Literal["mean", "min", "pessimistic"] = "mean"
    """What an ensemble is taken to mean; pessimistic is the mean less `pessimism` standard deviations over its members."""
    pessimism: float = Field(default=1.0, ge=0)
    positive: str | None = None
    """The class of a classifier whose logit is the score, if the folder does not say."""
    output: Literal["logit", "probability"] = "logit"
    """What a classifier gives: the logit has no ceiling, the probability is for measuring."""
    reads: Literal["conversation", "pair", "answer"] | None = None
    """What a classifier is shown: the answer alone unless it has only one label."""
    normalised: bool = True
    """Give a reward model's scores in the scale that was measured on its reference answers."""
    max_length: int | None = Field(default=None, ge=2)
    """Cut longer conversations, below the length that the model was made for."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto is float32 on a processor and bfloat16 on a GPU."""
    tokens_per_micro_batch: int | None = Field(default=None, ge=1)
    """Padded tokens that go through the model at once; changes memory and speed, not the scores. Chosen by device if not given."""
    revision: str | None = None
    trust_remote_code: bool = False
    """Run code that the model's repository ships. Needs `revision`, so that it is known code that runs."""
    http: HttpSettings = HttpSettings()
    verify: VerifySettings = VerifySettings()


class PartSettings(OpeningSettings):
    """One scorer in a sum."""

    path: str | list[str]
    weight: float = 1.0
    normalise: Literal["none", "reference"] = "none"
    """reference moves and scales its scores so that those of the reference answers have mean 0 and standard deviation 1."""
    scale: tuple[float, float] | None = None
    """A mean and a standard deviation to normalise by, where they are known."""
    clip: float | None = Field(default=None, gt=0)
    """Its scores are held between -clip and clip, after they were normalised."""


class ScorerSettings(OpeningSettings):
    path: str | list[str] | None = None
    """A reward model (folder, run or hub id), a classifier, file.py:function, an address (https://…) or verify:numeric; several are
    an ensemble."""
    sum: dict[str, PartSettings] = Field(default_factory=dict)
    """Instead of `path`: scorers by names of your own, each with its weight; the score is their weighted sum."""
    length_controlled: bool = False
    """Take out of the score what follows from an answer's length alone, as measured on `reference`."""
    reference: str | None = None
    """Ordinary answers (a file or a source), on which length_controlled and the parts with normalise=reference are measured."""
    reference_answers: int = Field(default=256, ge=2)
    """Measure on at most so many."""

    @model_validator(mode="after")
    def _one_or_a_sum(self) -> "ScorerSettings":
        if bool(self.sum) == (self.path is not None):
            seen = "both" if self.sum else "neither"
            raise ValueError(f"give scorer.path, or the parts of a sum as scorer.sum.<name>.path; seen {seen}")
        measured = [name for name, part in self.sum.items() if part.normalise == "reference"]
        if measured and self.reference is None:
            raise ValueError(
                f"sum.{measured[0]}.normalise=reference is measured on ordinary answers; give scorer.reference, a file or a source"
            )
        if self.length_controlled and self.reference is None:
            raise ValueError(
                "length_controlled is measured on ordinary answers; give scorer.reference, a file or a source such as your demonstrations"
            )
        return self


class ScoreSettings(Settings):
    data: SourceSettings
    scorer: ScorerSettings
    name: str | None = None
    """The key under which each answer keeps its score; the scorer's own name if not given."""
    parts: bool = False
    """Keep what a score was made from too: each member's, their deviation, the raw score (as name/part)."""
    out: str
    """The file to write: .jsonl or .jsonl.gz."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
