"""Model folders: their kind (read from JSON alone, without torch), and saving them.

Everything saved is a standard Hugging Face folder that plain transformers opens. What that format has no field for (the
scale of a reward model's scores) is in steersman.json beside it, which other libraries ignore.
"""

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from steersman.errors import ModelError

NOTES = "steersman.json"
HEADS = "heads.safetensors"

Kind = Literal["causal", "reward", "classifier", "adapter"]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What a folder holds.

    `base`: an adapter's base model; `classes`: a classifier's, by index; `notes`: steersman.json.
    """

    kind: Kind
    family: str
    base: str | None
    classes: tuple[str, ...]
    notes: dict[str, Any]


def describe(folder: str | Path) -> ModelFolder:
    """The kind of model in this folder, from its JSON files."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ModelError(
            f"there is no folder {str(folder)!r}; expected a model folder with config.json. Check the path"
        )
    notes = read_json(folder / NOTES) if (folder / NOTES).exists() else {}
    if (folder / "adapter_config.json").exists():
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        return ModelFolder("adapter", notes.get("family", ""), base, (), notes)
    if not (folder / "config.json").exists():
        raise ModelError(
            f"{str(folder)!r} is no model folder: it has neither config.json nor adapter_config.json. "
            "Give the folder that a model was saved to"
        )
    config = read_json(folder / "config.json")
    family = str(config.get("model_type", ""))
    architecture = (config.get("architectures") or [""])[0]
    if not architecture.endswith("ForSequenceClassification"):
        kind: Kind = "reward" if notes.get("kind") == "reward" else "causal"
        return ModelFolder(kind, family, None, (), notes)
    # transformers leaves id2label out where it is the default of two unnamed classes.
    names = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    classes = tuple(str(names[key]) for key in sorted(names, key=int))
    return ModelFolder("reward" if len(classes) == 1 else "classifier", family, None, classes, notes)


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read: {error}; the model folder is damaged, save or download it again"
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a {type(value).__name__}; expected an object. The model folder is damaged")
    return value


def write_notes(folder: str | Path, notes: dict[str, Any]) -> None:
    text = json.dumps(notes, indent=2, ensure_ascii=False) + "\n"
    (Path(folder) / NOTES).write_text(text, encoding="utf-8")


def save_model(backbone: Any, tokeniser: Any, folder: str | Path, *, adapter: str | None = None) -> Path:
    """Save a causal model with its tokeniser, chat template and generation config; `adapter` is merged into it."""
    from steersman.models.adapters import merged_state

    folder = Path(folder)
    state = merged_state(backbone, adapter)
    with dropout_restored(backbone):
        backbone.hf.save_pretrained(folder, state_dict=state)
    if tokeniser is not None:
        tokeniser.save_pretrained(folder)
    return folder


@contextmanager
def dropout_restored(backbone: Any):
    """Context manager: inside the block the config has the model's original dropout, so that it is saved unchanged."""
    parts = {id(part): part for part in (backbone.config, backbone.config.get_text_config())}.values()
    for key, value in backbone.original_dropout.items():
        for part in parts:
            if hasattr(part, key):
                setattr(part, key, value)
    try:
        yield
    finally:
        for key, value in backbone.original_dropout.items():
            for part in parts:
                if hasattr(part, key):
                    setattr(part, key, type(value)(0))
