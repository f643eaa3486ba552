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
    """A backbone with its tokeniser, its trained adapter and its Q heads, if any."""

    backbone: Backbone
    tokeniser: Any
    adapter: str | None
    """The trained adapter; None if the whole model is trained."""
    merged: bool
    """Whether the base is a base with an adapter merged into it. It exists in memory only, so it is saved too."""
    guide: Guide | None = None
    """The Q heads saved with it, if it was loaded for generation."""
    notes: tuple[str, ...] = ()
    """What a user should know about how it was loaded."""

    @property
    def hidden_size(self) -> int:
        return self.backbone.hidden_size

    @property
    def context_length(self) -> int | None:
        return self.backbone.context_length

    @property
    def pad_id(self) -> int:
        """What rows are filled up with. Their lengths tell it apart, so EOS will do; every model of a family has it."""
        known = (self.tokeniser.eos_token_id, self.tokeniser.pad_token_id)
        return next((token for token in known if token is not None), 0)

    def save(self, folder: Path) -> None:
        """Save a Hugging Face folder, or a peft folder if only an adapter was trained, with the tokeniser."""
        if self.adapter is None:
            save_model(self.backbone, self.tokeniser, folder)
            return
        if self.merged:
            base = folder.absolute().parent / "base"
            save_model(self.backbone, self.tokeniser, base)
            self.backbone.peft.peft_config[self.adapter].base_model_name_or_path = str(base)
        save_adapter(self.backbone, self.adapter, folder)
        self.tokeniser.save_pretrained(folder)
