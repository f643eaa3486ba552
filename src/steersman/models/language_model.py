"""A language model with its tokeniser, and how it is saved."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.models.adapters import save_adapter
from steersman.models.backbone import Backbone
from steersman.models.files import save_model
from steersman.models.q_heads import Guide


@dataclass(frozen=True)
class LanguageModel:
    backbone: Backbone
    tokeniser: Any
    adapter: str | None
    """The adapter that learns, or None where the whole model does."""
    merged: bool
    """Whether the base is itself a base and an adapter made one: it is then on no disk, and saved with what is learned."""
    guide: Guide | None = None
    """The Q heads that it was saved with, where it was opened to answer."""

    def save(self, folder: Path) -> None:
        """An ordinary Hugging Face folder, or a peft folder if only an adapter was learned; the tokeniser beside it."""
        if self.adapter is None:
            save_model(self.backbone, self.tokeniser, folder)
            return
        if self.merged:
            base = folder.absolute().parent / "base"
            save_model(self.backbone, self.tokeniser, base)
            self.backbone.peft.peft_config[self.adapter].base_model_name_or_path = str(base)
        save_adapter(self.backbone, self.adapter, folder)
        self.tokeniser.save_pretrained(folder)
