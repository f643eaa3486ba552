"""Settings of the gate that judgements pass before a reward model learns from them."""

from typing import Literal

from pydantic import Field

from steersman.settings.base import Settings
from steersman.settings.score import SourceSettings


class GateSettings(Settings):
    data: SourceSettings
    """Comparisons that name their annotators."""
    faulty: Literal["leave_out", "refuse", "keep"] = "leave_out"
    """What becomes of the judgements of annotators with a fault. refuse: end with code 10 and write nothing."""
    least_agreement: float | None = Field(default=None, ge=0, le=1)
    """Refuse if two annotators agree in a smaller share than this of the pairs that both judged."""
    least_judgements: int = Field(default=1, ge=1)
    """Refuse if fewer judgements are left."""
    confidence: float = Field(default=0.96, gt=0, lt=1)
    """Of the intervals. At 0.95, one in twenty files of annotators who are all alike has one with a fault."""
    out: str
    """The file to write: .jsonl or .jsonl.gz."""
    force: bool = False
    """Overwrite the file if it is there already."""
