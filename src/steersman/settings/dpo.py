"""Settings of DPO and its variants (IPO, SimPO, ORPO, KTO and others), offline and online."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from steersman.settings.base import Settings
from steersman.settings.parts import (
    PAD_BEFORE,
    DataSettings,
    ModelSettings,
    OptimiserSettings,
    RunSettings,
    TooLong,
    TrainSettings,
)
from steersman.settings.prompts import PromptSettings, SamplingSettings
from steersman.settings.score import ScorerSettings, judged_by

Loss = Literal["dpo", "robust", "ipo", "hinge", "apo_zero", "apo_down", "simpo", "orpo", "kto"]
PairLabels = Literal["soft", "hard"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
OF_GAPS: tuple[Loss, ...] = ("dpo", "robust", "ipo", "hinge")
OF_LOG_RATIOS: tuple[Loss, ...] = (*OF_GAPS, "apo_zero", "apo_down")
OF_PAIRS: tuple[Loss, ...] = (*OF_LOG_RATIOS, "simpo", "orpo")

# Settings that only some losses use. A value other than the default is an error with the other losses. A default value
# is not, because every resolved recipe contains it.
USED_BY: Mapping[str, tuple[Loss, ...]] = {
    "beta": (*OF_LOG_RATIOS, "simpo", "kto"),
    "label_smoothing": OF_PAIRS,
    "use_margin": ("dpo",),
    "gamma": ("simpo",),
    "likelihood": OF_PAIRS,
    "odds": ("orpo",),
    "likelihood_over": ("orpo",),
    "length": OF_LOG_RATIOS,
    "alpha": OF_GAPS,
    "divergence": OF_GAPS,
    "divergence_alpha": OF_GAPS,
    "undesirable_weight": ("kto",),
    "mismatched": ("kto",),
    "too_long": LOSSES,
    "reference": (*OF_LOG_RATIOS, "kto"),
    "ties": OF_PAIRS,
}


class DistanceSettings(Settings):
    """KL from the reference, measured once after training on sampled answers to held-out prompts (in one process
    only)."""

    prompts: int = Field(default=64, ge=0)
    """Number of held-out prompts; 0 skips the measurement."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest answer, in tokens."""


class PreferenceSettings(Settings):
    """Settings that offline and online DPO share."""

    model: ModelSettings
    """The initial policy, usually a fine-tuned model. It is also the reference, unless `reference` names another."""
    loss: Loss = "dpo"
    """The loss. apo_zero and apo_down fix the direction in which each answer moves. simpo and orpo need no reference.
    kto learns from thumbs; it reads a comparison as one up and one down."""
    beta: float = Field(default=0.1, gt=0)
    """beta of DPO: the KL coefficient of its implicit reward. For simpo, the scale of the reward margin."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of wrong labels: cDPO with loss=dpo, the unbiased correction with loss=robust."""
    use_margin: bool = False
    """Subtract a pair's judged margin from the difference of implicit rewards, inside the sigmoid (loss=dpo)."""
    gamma: float = Field(default=0.5, ge=0)
    """Target reward margin of simpo."""
    likelihood: float = Field(default=0.0, ge=0)
    """Weight of an NLL term on the chosen answers, added to the preference loss (RPO). With loss=orpo, 0 means 1."""
    odds: float = Field(default=0.1, gt=0)
    """Weight of orpo's odds-ratio term."""
    likelihood_over: Literal["answer", "prompt_and_answer"] = "answer"
    """Tokens of orpo's likelihood term: the preferred answer's, or the prompt's as well (TRL)."""
    length: Literal["sum", "mean", "desensitised"] = "sum"
    """An answer's log-ratio. sum: over its tokens. mean: divided by its length. desensitised: tokens past the shorter
    answer's length are weighted by `alpha` (LD-DPO)."""
    alpha: float = Field(default=0.5, ge=0, le=1)
    """Weight of tokens past the shorter answer's length, with length=desensitised."""
    divergence: Literal["reverse_kl", "forward_kl", "jensen_shannon", "alpha"] = "reverse_kl"
    """The divergence from the reference that is penalised (f-DPO). reverse_kl is DPO's and PPO's; alpha lies between it
    and forward_kl."""
    divergence_alpha: float = Field(default=0.5, gt=0, lt=1)
    """For divergence=alpha: near 0 it is the reverse KL, near 1 the forward KL."""
    undesirable_weight: float = Field(default=1.0, gt=0)
    """Weight of thumbs down in kto. Thumbs up have weight 1."""
    reference: str | None = None
    """The reference, if it is not the initial policy: a folder, a hub id or a run."""
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=5e-6)
    train: TrainSettings = TrainSettings()
    distance: DistanceSettings = DistanceSettings()
    run: RunSettings


class DpoSettings(PreferenceSettings):
    earlier_defaults: ClassVar[Mapping[str, Any]] = {
        "data.template": "none",
        "too_long": "cut",
        "mismatched": "next",
        **PAD_BEFORE,
    }

    data: DataSettings
    """Comparisons, rankings or labels (thumbs up and down, for kto), in any known format."""
    ties: Literal["soft", "drop"] = "soft"
    """soft trains on ties with a target preference of 0.5; drop leaves ties out."""
    too_long: TooLong = "leave_out"
    """Judgements with an answer that does not fit into data.max_length with its prompt: leave_out, and say how many; or
    cut them and learn from what is left."""
    mismatched: Literal["any", "next"] = "any"
    """Answers to other prompts, on which kto estimates its KL baseline: drawn from all answers, or the first answer of
    the next judged prompt."""


class OnlineDpoSettings(PreferenceSettings):
    """Settings of online DPO: pairs are sampled from the current policy and ranked by a scorer during training."""

    earlier_defaults: ClassVar[Mapping[str, Any]] = {"labels": "hard", "prompts.template": "none", **PAD_BEFORE}
    method: Literal["online_dpo", "xpo", "nash_md"] = "online_dpo"
    """Whose answers are compared. online_dpo: the policy's own. xpo: the policy's with the reference's (XPO).
    nash_md: the policy's with those of a mixture of policy and reference, by policy gradient (Nash-MD)."""
    optimism: float = Field(default=1e-5, ge=0)
    """XPO's alpha: how strongly the reference's answers are made less likely, per answer."""
    mixture: float = Field(default=0.5, ge=0, le=1)
    """Share of the reference in Nash-MD's mixture: 0 is the policy itself, 1 the reference."""
    prompts: PromptSettings
    scorer: ScorerSettings
    sampling: SamplingSettings = SamplingSettings()
    samples_per_prompt: int = Field(default=2, ge=2)
    """Answers sampled per prompt. The highest- and the lowest-scoring one form the pair."""
    labels: PairLabels = "soft"
    """soft: a pair's label is sigmoid of the difference of its scores, so that the optimum is PPO's. hard: the higher
    score always wins; for a scorer whose order of scores means something and their size does not."""
    train: TrainSettings = TrainSettings(keep="last")
    """batch_size is a number of prompts."""

    @model_validator(mode="after")
    def _one_use_of_the_scores(self) -> "OnlineDpoSettings":
        if self.use_margin and self.labels == "soft":
            raise ValueError(
                "use_margin=true and labels=soft both use the difference of a pair's scores; choose labels=hard, or "
                "leave use_margin out"
            )
        return self

    @model_validator(mode="after")
    def _a_judge_is_the_reference(self) -> "OnlineDpoSettings":
        object.__setattr__(self, "scorer", judged_by(self.scorer, self.reference or self.model.path))
        return self

    @model_validator(mode="after")
    def _of_the_method(self) -> "OnlineDpoSettings":
        used = {"optimism": ("xpo",), "mixture": ("nash_md",)}
        if self.method == "nash_md":
            others = ("loss", "label_smoothing", "use_margin", "likelihood", "length", "divergence")
            used |= dict.fromkeys(others, ("online_dpo", "xpo"))
        for name, methods in used.items():
            value = getattr(self, name)
            if self.method not in methods and value != type(self).model_fields[name].default:
                raise ValueError(f"{name}={value} has no effect with method={self.method}; leave it out")
        if self.method != "online_dpo" and self.samples_per_prompt != 2:
            raise ValueError(
                f"method={self.method} compares one answer of the policy with one of its opponent, and "
                f"samples_per_prompt={self.samples_per_prompt}; leave it at 2"
            )
        return self
