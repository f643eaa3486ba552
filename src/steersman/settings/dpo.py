"""Settings of learning from preferences directly: DPO and its relatives."""

from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import Field

from steersman.settings.base import Settings
from steersman.settings.parts import DataSettings, ModelSettings, OptimiserSettings, RunSettings, TrainSettings
from steersman.settings.ppo import PromptSettings, SamplingSettings
from steersman.settings.score import ScorerSettings

Loss = Literal["dpo", "robust", "ipo", "hinge", "simpo", "orpo", "kto"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
OF_LOG_RATIOS: tuple[Loss, ...] = ("dpo", "robust", "ipo", "hinge")
OF_PAIRS: tuple[Loss, ...] = (*OF_LOG_RATIOS, "simpo", "orpo")

# Settings that some losses have no place for. One that is not at its default is refused beside them; the defaults stand in every
# resolved recipe and so say nothing of what was wished for.
USED_BY: Mapping[str, tuple[Loss, ...]] = {
    "beta": (*OF_LOG_RATIOS, "simpo", "kto"),
    "label_smoothing": OF_PAIRS,
    "use_margin": ("dpo",),
    "gamma": ("simpo",),
    "likelihood": OF_PAIRS,
    "odds": ("orpo",),
    "length": OF_LOG_RATIOS,
    "alpha": OF_LOG_RATIOS,
    "undesirable_weight": ("kto",),
    "reference": (*OF_LOG_RATIOS, "kto"),
    "ties": OF_PAIRS,
}


class DistanceSettings(Settings):
    """The KL to the reference, measured once at the end on answers of the model's own to held-out prompts (in one process only)."""

    prompts: int = Field(default=64, ge=0)
    """To so many prompts; 0 leaves it out."""
    max_new_tokens: int = Field(default=64, ge=1)


class PreferenceSettings(Settings):
    """What learning from preferences directly needs to know, wherever the preferences come from."""

    model: ModelSettings
    """Usually a fine-tuned model; it is also the reference, unless `reference` names another."""
    loss: Loss = "dpo"
    """Which of the family. simpo and orpo need no reference; kto learns from thumbs, and takes comparisons as one up, one down."""
    beta: float = Field(default=0.1, gt=0)
    """How dear it is to leave the reference: the KL coefficient of the reward that DPO implies (simpo: the slope)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """The share of labels that are thought to be wrong: cDPO with loss=dpo, the unbiased correction with loss=robust."""
    use_margin: bool = False
    """Let a pair that was judged clearly better want a lead of its grade (loss=dpo)."""
    gamma: float = Field(default=0.5, ge=0)
    """The lead that simpo asks for."""
    likelihood: float = Field(default=0.0, ge=0)
    """Weight of the mean log-likelihood of the better answers, beside the preference (RPO); loss=orpo has 1 if this is 0."""
    odds: float = Field(default=0.1, gt=0)
    """Weight of orpo's odds ratio."""
    length: Literal["sum", "mean", "desensitised"] = "sum"
    """An answer's log-ratio: the sum over its tokens; their mean (length-normalised); or tokens past the shorter answer's length
    counting only `alpha` (LD-DPO)."""
    alpha: float = Field(default=0.5, ge=0, le=1)
    """What a token past the shared length counts with length=desensitised."""
    undesirable_weight: float = Field(default=1.0, gt=0)
    """Of thumbs down in kto; thumbs up count 1."""
    reference: str | None = None
    """Another reference than the model at the beginning: a folder, a hub id or a run."""
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=5e-6)
    train: TrainSettings = TrainSettings()
    distance: DistanceSettings = DistanceSettings()
    run: RunSettings


class DpoSettings(PreferenceSettings):
    data: DataSettings
    """Comparisons, rankings or labels (thumbs up and down, for kto), in any known format."""
    ties: Literal["soft", "drop"] = "soft"
    """soft learns that the two answers are equally good; drop leaves ties out."""


class OnlineDpoSettings(PreferenceSettings):
    """The preferences are made while it learns: answers of the policy's own, judged by a scorer."""

    prompts: PromptSettings
    scorer: ScorerSettings
    sampling: SamplingSettings = SamplingSettings()
    samples_per_prompt: int = Field(default=2, ge=2)
    """Answers to each prompt; the best and the worst of them by the scorer are a pair."""
    train: TrainSettings = TrainSettings(keep="last")
    """batch_size counts prompts."""
