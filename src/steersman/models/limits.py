"""Checks of a model's config.json before anything is built from it: a config may ask for a million layers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steersman.errors import ModelError

# The largest published models have a few hundred layers and experts, and widths and vocabularies below a million.
MOST = {"layers": 10_000, "experts": 100_000, "heads": 100_000, "numbers in a row": 100_000_000}
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
_NAMES = {
    **dict.fromkeys(_LAYERS, "layers"),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts", "n_shared_experts"), "experts"),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "n_head", "n_heads"), "heads"),
    **dict.fromkeys(
        ("hidden_size", "intermediate_size", "moe_intermediate_size", "n_embd", "d_model", "head_dim", "vocab_size"),
        "numbers in a row",
    ),
}


def check_config(config: Any, name: str) -> None:
    """Raise ModelError if a config asks for more than any model has, or for more layers than its folder has tensors."""
    for key, value in _numbers(config.to_dict()):
        what = _NAMES.get(key)
        if what is not None and not 0 <= value <= MOST[what]:
            raise ModelError(f"config.json of {name!r} has {key}={value:,}; expected {what} up to {MOST[what]:,}")
    tensors = _tensors_in(Path(name))
    layers = max((value for key, value in _numbers(config.to_dict()) if key in _LAYERS), default=0)
    if tensors is not None and layers > tensors:
        raise ModelError(
            f"config.json of {name!r} asks for {layers:,} layers, but its files hold {tensors:,} tensors in all; the "
            "config does not belong to these files"
        )


def _numbers(content: dict[Any, Any]) -> Iterator[tuple[str, int]]:
    """All whole numbers of a config, also of the configs inside it."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield str(key), value


def _tensors_in(folder: Path) -> int | None:
    """How many tensors a folder's safetensors files hold; None if it has no such file or one cannot be read."""
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    count = 0
    for file in files:
        try:
            with safe_open(file, framework="numpy") as opened:
                count += len(opened.keys())
        except (SafetensorError, OSError):
            return None  # the loading itself says what is wrong
    return count if files else None
