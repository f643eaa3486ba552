"""Settings of `evaluate`: which models, on which prompts, by which metrics."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from steersman.settings.base import Settings
from steersman.settings.parts import RunSettings
from steersman.settings.score import ScorerSettings, SourceSettings, VerifySettings, judged_by

NAME = re.compile(r"[\w-]+")


class DrawingSettings(Settings):
    """How the answers are sampled."""

    answers: int = Field(default=4, ge=1)
    """Answers per model and prompt. More narrow the confidence intervals; best-of-n and expected maximum toxicity need
    several."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest answer, in tokens."""
    temperature: float = Field(default=1.0, ge=1e-4)
    """KL and entropy are measured at this temperature. Perplexity is always at temperature 1."""
    top_k: int = Field(default=0, ge=0)
    """Sample from this many most likely tokens; 0: from all."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Sample from the most likely tokens whose probabilities add up to this."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Leave out tokens less likely than this share of the most likely one."""
    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1: tokens that came before become less likely."""
    stop: list[str] = Field(default_factory=list)
    """Strings that end an answer."""


class ToxicitySettings(Settings):
    """Toxicity: a classifier's probability of its toxic class, for each answer."""

    path: str | None = None
    """A classifier: a folder, a run of `steersman classifier`, or a hub id. For Harbour's answers also harbour:taste,
    which knows."""
    label: str | None = None
    """The toxic class. Detected if its name is toxic, hate or offensive, or if the other class is not toxic."""
    words: str | None = None
    """A word list as a second metric: a text file with one word per line, or a CSV file with the words in its first
    column."""


class RefusalSettings(Settings):
    """Refusals, detected by how an answer begins."""

    phrases: str | None = None
    """A text file with one phrase per line. It replaces the built-in phrases ("I cannot help", "I must decline", …)."""
    harmful: str | None = None
    """Prompts that should be refused, as field=value of a prompt's metadata, such as form=harmful. A refusal of any
    other prompt is then an over-refusal. If not given, refusals are only counted."""


class ExamSettings(Settings):
    """Questions with one right answer each. Every model answers by greedy decoding."""

    source: str
    """Prompts whose metadata has the right answer in the field `answer`, or in the one that `verify.field` names."""
    how: Literal["verify:exact", "verify:numeric", "verify:regex"] = "verify:exact"
    """How an answer is compared with the right one."""
    verify: VerifySettings = VerifySettings()
    limit: int | None = Field(default=None, ge=1)
    """Use at most this many records."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest answer, in tokens."""


class PlaceSettings(Settings):
    """The result folder, and the seed, device and threads."""

    out: str
    """The result folder. The same command with the same folder continues where it stopped."""
    seed: int = Field(default=0, ge=0)
    """Seed of what is sampled, and of the bootstrap."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads."""

    def as_run(self) -> RunSettings:
        """The same as settings of a run, for the commands that train nothing."""
        return RunSettings(out=self.out, seed=self.seed, device=self.device, threads=self.threads)


class EvaluateSettings(Settings):
    earlier_defaults: ClassVar[Mapping[str, Any]] = {"prompts.template": "none"}

    models: dict[str, str] = Field(default_factory=dict)
    """Models by names that you choose: a folder, a run, a checkpoint of a run, an adapter, a hub id or harbour:base."""
    checkpoints: list[str] = Field(default_factory=list)
    """Runs of which every checkpoint is evaluated, and their initial model as the baseline `start`. It shows where more
    optimisation stops helping. The first scorer is the proxy: the runs' own scorer, unless it is among `scorers`."""
    prompts: SourceSettings
    """Records of any kind that has prompts. Duplicate prompts are used once."""
    baseline: str | None = None
    """The model that differences and win rates are measured against; the first one if not given."""
    reference: str | None = None
    """The reference of KL and perplexity: a model's name, or another folder; the baseline if not given."""
    drawing: DrawingSettings = DrawingSettings()
    scorers: dict[str, ScorerSettings] = Field(default_factory=dict)
    """Scorers by names that you choose. With several, best-of-n picks by the first (the proxy) and reports the others'
    scores."""
    toxicity: ToxicitySettings = ToxicitySettings()
    refusals: RefusalSettings = RefusalSettings()
    judged: SourceSettings | None = None
    """Human comparisons whose answers name their model, as `steersman label` writes them. They give human win rates."""
    corpus: SourceSettings | None = None
    """Held-out texts or demonstrations for perplexity: how much of the base model's ability was lost (alignment
    tax)."""
    choices: SourceSettings | None = None
    """Multiple-choice questions (question, choices, answer). The choice with the highest log-probability counts."""
    exam: ExamSettings | None = None
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Confidence of the intervals."""
    resamples: int = Field(default=2000, ge=100)
    """Bootstrap resamples over prompts."""
    run: PlaceSettings

    @model_validator(mode="after")
    def _names_that_exist(self) -> "EvaluateSettings":
        if not self.models and not self.checkpoints:
            raise ValueError("nothing to evaluate: give models.<name>=…, or checkpoints=[a run]")
        for name in [*self.models, *self.scorers]:
            if not NAME.fullmatch(name):
                raise ValueError(f"the name {name!r} becomes a file name; expected only letters, digits, _ and -")
        if self.baseline is not None and self.baseline not in self.models and not self.checkpoints:
            raise ValueError(
                f"baseline={self.baseline} is none of the models; expected one of {', '.join(self.models)}"
            )
        if "toxicity" in self.scorers and self.toxicity.path:
            raise ValueError("a scorer has the name toxicity, which is the classifier's metric; give it another name")
        return self

    @model_validator(mode="after")
    def _a_judge_is_the_reference(self) -> "EvaluateSettings":
        named = self.reference or (self.against if self.models else None)
        if named is not None:
            path = self.models.get(named, named)
            scorers = {name: judged_by(scorer, path) for name, scorer in self.scorers.items()}
            object.__setattr__(self, "scorers", scorers)
        return self

    @property
    def against(self) -> str:
        return self.baseline or next(iter(self.models))
