"""Settings of learning from preferences directly: DPO and its relatives."""

from typing import Literal

from pydantic import Field

from steersman.settings.base import Settings
from steersman.settings.parts import DataSettings, ModelSettings, OptimiserSettings, RunSettings, TrainSettings

Loss = Literal["dpo", "robust", "ipo", "hinge", "simpo", "orpo", "kto"]


class DpoSettings(Settings):
    model: ModelSettings
    """Usually a fine-tuned model; it is also the reference, unless `reference` names another."""
    data: DataSettings
    """Comparisons, rankings or labels (thumbs up and down, for kto), in any known format."""
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
    ties: Literal["soft", "drop"] = "soft"
    """soft learns that the two answers are equally good; drop leaves ties out."""
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=5e-6)
    train: TrainSettings = TrainSettings()
    run: RunSettings
