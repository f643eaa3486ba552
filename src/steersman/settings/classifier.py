"""Settings of a text classifier."""

from pydantic import Field, model_validator

from steersman.settings.base import Settings
from steersman.settings.parts import DataSettings, ModelSettings, OptimiserSettings, RunSettings, TrainSettings


class ClassifierSettings(Settings):
    model: ModelSettings = ModelSettings(path="harbour:base")
    """A model folder or hub id, language model or encoder. Its trunk is kept and gets a new output layer."""
    data: DataSettings
    """Texts with a label, in any known format: CSV or JSON lines with the fields text and label, or Davidson's
    tweets."""
    positive: list[str] = Field(default=["toxic"], min_length=1)
    """Labels that put a text into the second class. All other labels put it into the first."""
    classes: tuple[str, str] = ("not toxic", "toxic")
    """Names of the two classes in the saved model (id2label)."""
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=3e-4)
    train: TrainSettings = TrainSettings(epochs=2)
    run: RunSettings

    @model_validator(mode="after")
    def _two_names(self) -> "ClassifierSettings":
        if self.classes[0] == self.classes[1] or not all(name.strip() for name in self.classes):
            raise ValueError(f"expected two different names for the classes; seen {list(self.classes)}")
        return self
