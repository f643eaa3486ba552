"""Settings of supervised fine-tuning."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from steersman.settings.base import Settings
from steersman.settings.columns import ColumnSettings
from steersman.settings.parts import (
    PAD_BEFORE,
    DataSettings,
    ModelSettings,
    OptimiserSettings,
    RunSettings,
    TrainSettings,
)


class MixSettings(Settings):
    """Further demonstrations, with their share of the rows."""

    source: str
    """A file, a folder, a hub id, or a named source such as harbour:demonstrations."""
    format: str | None = None
    """Name of the data format; detected from the field names if not given."""
    columns: ColumnSettings | None = None
    """Columns of a table with names of its own, such as columns.prompt=question (docs/data.md)."""
    share: float = Field(gt=0, lt=1)
    """Its share of the rows of an epoch. Fewer rows than that come again, of more a random part is taken."""


class SftSettings(Settings):
    earlier_defaults: ClassVar[Mapping[str, Any]] = {"data.template": "none", **PAD_BEFORE}

    model: ModelSettings
    data: DataSettings
    mix: dict[str, MixSettings] = Field(default_factory=dict)
    """Sources mixed with `data`, by names that you choose, such as helpful demonstrations with revisions by a
    constitution. `data` has what the shares leave. Held-out numbers are of `data`."""
    loss_on: Literal["answer", "assistant", "all"] = "assistant"
    """Tokens that the loss covers: the last answer, every assistant turn, or all tokens."""
    take_chosen: bool = False
    """Also train on the chosen answer of each comparison. Off by default: the preferred of two answers may still be
    bad."""
    optimiser: OptimiserSettings = OptimiserSettings()
    train: TrainSettings = TrainSettings()
    run: RunSettings

    @model_validator(mode="after")
    def _leave_something_to_data(self) -> "SftSettings":
        total = sum(one.share for one in self.mix.values())
        if total >= 1:
            raise ValueError(f"the shares of mix add up to {total:g}, which leaves nothing to data; expected below 1")
        return self
