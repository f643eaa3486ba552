"""The shape of a decoder model, from its config.json and the headers of its safetensors files. No weights, no torch.

Model families name the same config fields differently. The known names are in a table; an unknown family is an error.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, cast

from steersman.errors import ModelError

GATED = ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma", "gemma2", "gemma3_text")
PLAIN = ("gpt2", "gpt_neox", "opt")
"""Families whose MLP has three matrices (gated), and those whose MLP has two."""

FUSED = ("llama", "mistral", "qwen2", "qwen3")
"""Families with fused layers on a CPU, which keep less for the backward pass (see `models.fused`)."""

# Possible config names of each field; the first one that is present counts.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "hidden": ("hidden_size", "n_embd"),
    "layers": ("num_hidden_layers", "n_layer"),
    "heads": ("num_attention_heads", "n_head"),
    "inner": ("intermediate_size", "ffn_dim", "n_inner"),
    "vocabulary": ("vocab_size",),
    "context": ("max_position_embeddings", "n_positions"),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a decoder model. `size` is the head dimension, `inner` the MLP width. `tied`: the output layer is the
    embedding."""

    name: str
    family: str
    hidden: int
    layers: int
    heads: int
    key_heads: int
    size: int
    inner: int
    vocabulary: int
    tied: bool
    context: int | None
    parameters: int

    @property
    def gated(self) -> bool:
        return self.family in GATED

    @property
    def attention(self) -> int:
        """Weights of one layer's four attention projections."""
        return self.hidden * self.size * (2 * self.heads + 2 * self.key_heads)

    @property
    def keys_and_values(self) -> int:
        return 2 * self.hidden * self.size * self.key_heads

    @property
    def feed_forward(self) -> int:
        return self.hidden * self.inner * (3 if self.gated else 2)

    @property
    def embedding(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def matrices(self) -> int:
        """Weights of all matrices that a token is multiplied with, without the output layer."""
        return self.layers * (self.attention + self.feed_forward)

    @property
    def lora_parameters(self) -> int:
        """Weights of a LoRA adapter of rank 1 on every linear layer of the trunk."""
        queries, keys = self.heads * self.size, self.key_heads * self.size
        attention = (self.hidden + queries) * 2 + 2 * (self.hidden + keys)
        return self.layers * (attention + (3 if self.gated else 2) * (self.hidden + self.inner))


def shape_of_folder(folder: str | Path) -> Shape:
    """The shape of the model in a folder. Parameters are counted from safetensors headers, if there are any."""
    folder = Path(folder).expanduser()
    try:
        config = cast(object, json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the shape of the model in {str(folder)!r} is unknown: config.json cannot be read ({error}); expected a "
            "model folder as save_pretrained writes it. Check the path"
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"{folder / 'config.json'} holds a {type(config).__name__}; expected an object")
    files = sorted(file for file in folder.glob("*.safetensors") if not file.name.startswith(("heads", "adapter")))
    counted = sum(weights_in_header(file) for file in files)
    return shape_of_config(cast(dict[str, Any], config), name=str(folder), parameters=counted or None)


def shape_of_config(config: Mapping[str, Any], *, name: str, parameters: int | None = None) -> Shape:
    """The shape that a config describes. Without `parameters`, they are computed from the shape."""
    inner_config = config.get("text_config")
    if isinstance(inner_config, Mapping):
        config = cast(Mapping[str, Any], inner_config)
    family = str(config.get("model_type", ""))
    if family not in (*GATED, *PLAIN):
        raise ModelError(
            f"the cost of {name!r} cannot be estimated: its family is {family or 'not named'!r}; expected one of "
            f"{', '.join((*GATED, *PLAIN))}. Start the run with few rows and measure it"
        )
    sizes = {field: _first(config, names) for field, names in _NAMES.items()}
    hidden, layers, heads, vocabulary = (sizes[field] for field in ("hidden", "layers", "heads", "vocabulary"))
    if not (hidden and layers and heads and vocabulary):
        missing = next(field for field in ("hidden", "layers", "heads", "vocabulary") if not sizes[field])
        raise ModelError(
            f"the config of {name!r} has no {missing} ({' or '.join(_NAMES[missing])}); the folder is damaged, save or "
            "download the model again"
        )
    shape = Shape(
        name=name,
        family=family,
        hidden=hidden,
        layers=layers,
        heads=heads,
        key_heads=_first(config, ("num_key_value_heads",)) or heads,
        size=_first(config, ("head_dim",)) or hidden // heads,
        inner=sizes["inner"] or 4 * hidden,
        vocabulary=vocabulary,
        tied=bool(config.get("tie_word_embeddings", family in ("gpt2", "opt", "gemma", "gemma2", "gemma3_text"))),
        context=sizes["context"],
        parameters=0,
    )
    return _counted(shape, parameters)


def _counted(shape: Shape, parameters: int | None) -> Shape:
    from dataclasses import replace

    norms = shape.hidden * (2 * shape.layers + 1)
    added = shape.matrices + shape.embedding * (1 if shape.tied else 2) + norms
    return replace(shape, parameters=parameters or added)


def weights_in_header(file: str | Path) -> int:
    """Number of weights in a safetensors file. The header is an 8-byte length and a JSON object of that length."""
    file = Path(file)
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size:
                raise ValueError(f"its header claims {length:,} bytes, more than the file has")
            header = cast(object, json.loads(stream.read(length)))
        if not isinstance(header, dict):
            raise ValueError("its header is not a JSON object")
        tensors = cast(dict[str, dict[str, list[int]]], header)
        return sum(prod(tensor["shape"]) for name, tensor in tensors.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise ModelError(
            f"{file} cannot be read as a safetensors file: {error}; save or download the model again"
        ) from error


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
