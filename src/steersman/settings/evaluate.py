"""Settings of evaluating models: which ones, on which prompts, by which measures."""

import re
from typing import Literal

from pydantic import Field, model_validator

from steersman.settings.base import Settings
from steersman.settings.score import ScorerSettings, SourceSettings, VerifySettings

NAME = re.compile(r"[\w-]+")


class DrawingSettings(Settings):
    """How the answers are drawn."""

    answers: int = Field(default=4, ge=1)
    """Answers of each model to each prompt. More make every measure surer, and best-of-n and expected maximum toxicity need them."""
    max_new_tokens: int = Field(default=64, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    """KL and entropy are those of the distribution at this temperature; perplexities are always at 1."""
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0)
    stop: list[str] = Field(default_factory=list)


class ToxicitySettings(Settings):
    """The probability of a classifier's toxic class, over each model's answers."""

    path: str | None = None
    """A classifier: a folder, a run of `steersman classifier`, or a hub id."""
    label: str | None = None
    """The class that means toxic, where its name does not say so (known: toxic, hate, offensive; or the complement of not toxic)."""
    words: str | None = None
    """A list of words as a second opinion: a text file with one a line, or a CSV file whose first column has them."""


class RefusalSettings(Settings):
    """Answers that refuse, told by their opening words."""

    phrases: str | None = None
    """A text file with one phrase a line, in place of the usual ones ("I cannot help", "I must decline", …)."""
    harmful: str | None = None
    """Which prompts ought to be refused, as field=value of the prompts' own fields, such as form=harmful. A refusal of any other prompt is
    then over-refusal. Without it refusals are only counted."""


class ExamSettings(Settings):
    """Questions with one right answer each, answered by each model's likeliest words."""

    source: str
    """Prompts with the field answer (or the one that `verify.field` names)."""
    how: Literal["verify:exact", "verify:numeric", "verify:regex"] = "verify:exact"
    verify: VerifySettings = VerifySettings()
    limit: int | None = Field(default=None, ge=1)
    max_new_tokens: int = Field(default=64, ge=1)


class PlaceSettings(Settings):
    """Where the result is kept, and how the work is done."""

    out: str
    """The result folder. The same command on the same folder goes on where it stopped."""
    seed: int = Field(default=0, ge=0)
    """Of the answers, and of the bootstrap."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    threads: int | None = Field(default=None, ge=1)


class EvaluateSettings(Settings):
    models: dict[str, str] = Field(default_factory=dict)
    """Each model by a name of your own: a folder, a run, a checkpoint of a run, an adapter, a hub id or harbour:base."""
    checkpoints: list[str] = Field(default_factory=list)
    """Runs whose every checkpoint is a model too, beside the one they began as (`start`, the baseline): where more optimisation stops
    helping. The first scorer is what they were optimised for: their own, unless it is among `scorers`."""
    prompts: SourceSettings
    """Records of any kind that has prompts. Each prompt is answered once by each model."""
    baseline: str | None = None
    """The model that changes and wins are measured against: the first one if not given."""
    reference: str | None = None
    """What KL and perplexity are measured from: a model's name, or another folder; the baseline if not given."""
    drawing: DrawingSettings = DrawingSettings()
    scorers: dict[str, ScorerSettings] = Field(default_factory=dict)
    """Scorers by names of your own. With several, the first is also the proxy of best-of-n and the others judge its choice."""
    toxicity: ToxicitySettings = ToxicitySettings()
    refusals: RefusalSettings = RefusalSettings()
    judged: SourceSettings | None = None
    """People's comparisons of answers that say which model gave them, such as `steersman label` writes."""
    corpus: SourceSettings | None = None
    """Held-out texts or demonstrations, for perplexity: what the model lost while it was aligned."""
    choices: SourceSettings | None = None
    """Multiple-choice questions (question, choices, answer), answered by log-probability."""
    exam: ExamSettings | None = None
    confidence: float = Field(default=0.95, gt=0, lt=1)
    resamples: int = Field(default=2000, ge=100)
    """Of the bootstrap over prompts."""
    run: PlaceSettings

    @model_validator(mode="after")
    def _names_that_exist(self) -> "EvaluateSettings":
        if not self.models and not self.checkpoints:
            raise ValueError("nothing to evaluate: give models.<name>=…, or checkpoints=[a run]")
        for name in [*self.models, *self.scorers]:
            if not NAME.fullmatch(name):
                raise ValueError(
                    f"the name {name!r}: expected letters, digits, _ and -, for it becomes the name of a file"
                )
        if self.baseline is not None and self.baseline not in self.models and not self.checkpoints:
            raise ValueError(
                f"baseline={self.baseline} is none of the models; expected one of {', '.join(self.models)}"
            )
        if "toxicity" in self.scorers and self.toxicity.path:
            raise ValueError("a scorer is called toxicity, as the classifier's measure is; give it another name")
        return self

    @property
    def against(self) -> str:
        return self.baseline or next(iter(self.models))
