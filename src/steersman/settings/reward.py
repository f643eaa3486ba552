"""Settings of a reward model."""

from typing import Literal

from pydantic import Field, model_validator

from steersman.settings.base import Settings
from steersman.settings.parts import DataSettings, ModelSettings, OptimiserSettings, RunSettings, TrainSettings


class RewardSettings(Settings):
    model: ModelSettings
    """A causal language model, or an earlier reward model that new judgements are to update."""
    data: DataSettings
    """Comparisons, rankings or labels (thumbs up and down), in any known format."""
    ties: Literal["soft", "drop"] = "soft"
    """soft learns that the two answers are equally good; drop leaves ties out."""
    use_margin: bool = False
    """Let a pair that was judged clearly better want a larger gap."""
    centring: float = Field(default=0.01, ge=0)
    """Pulls the scores of each pair towards zero; 0 switches it off."""
    members: int = Field(default=1, ge=1, le=16)
    """More than one makes an ensemble: each member has its own seed and data order."""
    members_as: Literal["ensemble", "average"] = "ensemble"
    """ensemble keeps the members side by side; average makes one model of the mean of their weights (WARM): members then begin with the
    same new head, and differ in the order of the data."""
    head_seed: int | None = Field(default=None, ge=0)
    """Of the new head, where it is not to be run.seed."""
    reference: str | None = None
    """Answers whose scores become mean 0 and standard deviation 1, such as demonstrations; the judged answers if not given."""
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=1e-4)
    train: TrainSettings = TrainSettings()
    run: RunSettings

    @model_validator(mode="after")
    def _average_of_whole_models(self) -> "RewardSettings":
        if self.members_as == "average" and self.members < 2:
            raise ValueError("members_as=average is a mean over members; give members=4, say")
        if self.members_as == "average" and self.model.lora is not None:
            raise ValueError(
                "members_as=average averages whole models: the mean of two adapters is not the adapter of the mean. Leave model.lora out, or "
                "members_as=ensemble"
            )
        return self
