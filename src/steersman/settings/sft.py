"""Settings of supervised fine-tuning."""

from typing import Literal

from steersman.settings.base import Settings
from steersman.settings.parts import DataSettings, ModelSettings, OptimiserSettings, RunSettings, TrainSettings


class SftSettings(Settings):
    model: ModelSettings
    data: DataSettings
    loss_on: Literal["answer", "assistant", "all"] = "assistant"
    """Which words are learned: the last answer, every assistant turn, or all tokens."""
    take_chosen: bool = False
    """Learn the preferred answer of each comparison too. Off: that somebody preferred an answer does not make it good."""
    optimiser: OptimiserSettings = OptimiserSettings()
    train: TrainSettings = TrainSettings()
    run: RunSettings
