"""Settings of `steersman worth`: what the labels of a reward model's run are worth."""

from typing import Annotated

from pydantic import Field, field_validator

from steersman.settings.base import Settings


class CurveSettings(Settings):
    """The learning curve: reward models trained on parts of the labels."""

    parts: list[Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=lambda: [0.125, 0.25, 0.5], min_length=2)
    """Shares of the labels to train on; the run itself has all of them."""
    repeats: int = Field(default=2, ge=0)
    """Models for each share, each with other labels and another seed. 0: no curve."""
    gain: float = Field(default=0.01, gt=0, lt=1)
    """Say how many more labels are expected to raise the accuracy by so much."""

    @field_validator("parts")
    @classmethod
    def _each_once(cls, value: list[float]) -> list[float]:
        if len(set(value)) < len(value):
            raise ValueError(f"curve.parts names a share twice: {value}; name each once")
        return sorted(value)


class WorthSettings(Settings):
    run: str
    """The finished run of a reward model. Its labels have to be there as they were."""
    retrain: bool = False
    """Measure annotators and sources by training without their labels, not by influence: as exact as can be, for one
    training each."""
    curve: CurveSettings = CurveSettings()
    damping: float = Field(default=0.3, gt=0)
    """Added to the curvature of the head in every direction, as a multiple of its mean (docs/label-worth.md)."""
    shown: int = Field(default=10, ge=1)
    """Labels and disagreements that the result names."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Of the intervals."""
    resamples: int = Field(default=1000, ge=100)
    seed: int = Field(default=0, ge=0)
    """Of the parts of the labels, and of the resamples."""
    out: str | None = None
    """The folder of the result; `worth` in the run's folder if not given."""
    force: bool = False
    """Overwrite an earlier result."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps; of the reading. Trainings run where the run ran."""
