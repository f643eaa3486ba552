"""Settings of a text classifier."""

from pydantic import Field, model_validator

from steersman.settings.base import Settings
from steersman.settings.parts import DataSettings, ModelSettings, OptimiserSettings, RunSettings, TrainSettings


class ClassifierSettings(Settings):
    model: ModelSettings = ModelSettings(path="harbour:base")
    """Any model folder or hub id, language models and encoders alike: its trunk is kept and gets a new output layer."""
    data: DataSettings
    """Texts with a label, in any known format: CSV or JSON lines with the fields text and label, or Davidson's tweets."""
    positive: list[str] = Field(default=["toxic"], min_length=1)
    """The labels that make a text one of the second class; all others make it one of the first."""
    classes: tuple[str, str] = ("not toxic", "toxic")
    """What the two classes are called in the folder that is saved."""
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=3e-4)
    train: TrainSettings = TrainSettings(epochs=2)
    run: RunSettings

    @model_validator(mode="after")
    def _two_names(self) -> "ClassifierSettings":
        if self.classes[0] == self.classes[1] or not all(name.strip() for name in self.classes):
            raise ValueError(f"classes are two different names; seen {list(self.classes)}")
        return self
