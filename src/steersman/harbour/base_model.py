"""Path of the base model that ships with Steersman: a standard Hugging Face folder in this package's data."""

from pathlib import Path

from steersman.errors import ModelError


def base_path() -> Path:
    """The folder of the base model."""
    folder = Path(__file__).parent / "base"
    if not (folder / "model.safetensors").is_file():
        raise ModelError(
            f"Harbour's base model is missing from {folder}; expected model.safetensors there. "
            "Install the package again, or rebuild it: python -m steersman.harbour.build --out <that folder>"
        )
    return folder
