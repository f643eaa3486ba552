"""Settings of supervised fine-tuning."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from steersman.settings.base import Settings
from steersman.settings.parts import (
    PAD_BEFORE,
    DataSettings,
    ModelSettings,
    OptimiserSettings,
    RunSettings,
    TrainSettings,
)


class SftSettings(Settings):
    earlier_defaults: ClassVar[Mapping[str, Any]] = {"data.template": "none", **PAD_BEFORE}

    model: ModelSettings
    data: DataSettings
    loss_on: Literal["answer", "assistant", "all"] = "assistant"
    """Tokens that the loss covers: the last answer, every assistant turn, or all tokens."""
    take_chosen: bool = False
    """Also train on the chosen answer of each comparison. Off by default: the preferred of two answers may still be
    bad."""
    optimiser: OptimiserSettings = OptimiserSettings()
    train: TrainSettings = TrainSettings()
    run: RunSettings
