"""Named LoRA adapters (arXiv 2106.09685) on one frozen base: policy, value, reward. Without an adapter: the reference.

peft inserts its layers into the model in place, so `Backbone.hidden` runs through them unchanged. Switching adapters
changes flags only, never `requires_grad`: peft's own switch freezes the adapter it deactivates, and a backward pass
after the switch would then silently lose that adapter's gradient.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steersman.errors import ModelError, SteersmanError
from steersman.models.acting import adapter_names, check_adapters, switch_adapter
from steersman.models.backbone import Backbone
from steersman.models.finite import check_loaded
from steersman.runs.verified import verify_model


def add_lora(
    backbone: Backbone,
    name: str,
    *,
    rank: int,
    alpha: int,
    dropout: float = 0.0,
    targets: str | Sequence[str] = "all-linear",
) -> None:
    """Add a new adapter and make it active and trainable; the base is frozen. B is zero: outputs do not change yet.

    `targets`: "all-linear" is every linear layer but the output layer; a sequence holds the ends of module names.
    Experts fused into one 3-D weight get adapters only if the installed peft supports their model family.
    """
    from peft import LoraConfig

    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        fan_in_fan_out=_has_conv1d(backbone),
        base_model_name_or_path=backbone.hf.name_or_path,
    )
    _insert(backbone, name, config)


def load_adapter(backbone: Backbone, name: str, folder: str | Path) -> None:
    """Load an adapter from a peft folder under this name, and make it active and trainable."""
    from peft import LoraConfig
    from peft.utils import set_peft_model_state_dict
    from safetensors.torch import load_file

    folder = Path(folder).expanduser()
    if not (folder / "adapter_config.json").exists() or not (folder / "adapter_model.safetensors").exists():
        raise ModelError(
            f"{str(folder)!r} is no adapter folder; expected adapter_config.json and adapter_model.safetensors, "
            "as written by peft's save_pretrained. Check the path"
        )
    verify_model(folder)
    with _damage_named(folder):
        config = LoraConfig.from_pretrained(str(folder))
        config.inference_mode = False
        _insert(backbone, name, config)
        state = load_file(folder / "adapter_model.safetensors")
        check_loaded(folder, state.items())
        result = set_peft_model_state_dict(backbone.peft, state, adapter_name=name)
    missing = [key for key in result.missing_keys if f".{name}." in key]
    if missing or result.unexpected_keys:
        first = (missing + result.unexpected_keys)[0]
        raise ModelError(
            f"the adapter in {str(folder)!r} does not fit {backbone.name!r} (first mismatched weight: {first}); "
            f"it was made for {config.base_model_name_or_path!r}. Load that base model"
        )


@contextmanager
def _damage_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except SteersmanError:
        raise
    except Exception as error:  # peft and safetensors raise as many types as there are ways to damage a file
        raise ModelError(
            f"the adapter in {str(folder)!r} could not be loaded: {type(error).__name__}: {str(error)[:300]}. Expected "
            "adapter_config.json and adapter_model.safetensors as written by peft's save_pretrained; restore its files"
        ) from error


def _insert(backbone: Backbone, name: str, config: Any) -> None:
    from peft import PeftModel

    if name in adapter_names(backbone):
        raise ModelError(f"there is already an adapter {name!r} on {backbone.name!r}; choose another name")
    if "." in name or not name:
        raise ModelError(
            f"{name!r} is no valid adapter name, since it becomes part of weight names; expected at least one "
            "character and no dots"
        )
    others = [p for p in backbone.parameters() if p.requires_grad] if adapter_names(backbone) else []
    try:
        if backbone.peft is None:
            backbone.__dict__["peft"] = PeftModel(backbone.hf, config, adapter_name=name)
        else:
            backbone.peft.add_adapter(name, config)
    except (ValueError, TypeError, re.error, RecursionError) as error:  # a text is a regular expression to peft
        raise ModelError(
            f"no adapter fits {backbone.name!r} with targets {config.target_modules!r}: {error}. "
            "Expected 'all-linear' or the ends of the names of linear layers"
        ) from error
    for parameter in others:
        parameter.requires_grad_(True)
    backbone.adapted = [layer for _, layer in _layers(backbone)]
    switch_adapter(backbone, name)
    for part in _parts(backbone, [name]):
        part.requires_grad_(True)


def _has_conv1d(backbone: Backbone) -> bool:
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in backbone.hf.modules())


def _layers(backbone: Backbone) -> Iterator[tuple[str, Any]]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in backbone.hf.named_modules():
        if isinstance(module, BaseTunerLayer):
            yield path, module


def _parts(backbone: Backbone, names: Iterable[str]) -> Iterator[nn.Parameter]:
    wanted = set(names)
    for path, parameter in backbone.hf.named_parameters():
        parts = path.split(".")
        if any(part.startswith("lora_") and after in wanted for part, after in pairwise(parts)):
            yield parameter


def set_trainable(backbone: Backbone, names: Iterable[str]) -> list[nn.Parameter]:
    """Make exactly these adapters trainable, and return their parameters for an optimiser."""
    wanted = list(names)
    check_adapters(backbone, wanted)
    backbone.hf.requires_grad_(False)
    chosen = list(_parts(backbone, wanted))
    for parameter in chosen:
        parameter.requires_grad_(True)
    return chosen


@torch.no_grad()
def merged_state(backbone: Backbone, name: str | None) -> dict[str, Tensor] | None:
    """The state dict of a plain model with this adapter merged into its weights (None: the base without adapter).

    It is used for saving and for a generation engine; the model itself is unchanged. Without any adapters the result is
    None: the model's own state dict will do.
    """
    check_adapters(backbone, [] if name is None else [name])
    if backbone.peft is None:
        return None
    # A layer's own weights are under `base_layer`; experts fused into one module are wrapped once per parameter.
    wrappers = {f"{path}.base_layer.": layer for path, layer in _layers(backbone)}
    state: dict[str, Tensor] = {}
    for key, value in backbone.hf.state_dict().items():
        if ".lora_" in key:
            continue
        parameter = key.rpartition(".")[2]
        for path, layer in wrappers.items():
            changed = key.startswith(path) and parameter == getattr(layer, "parameter_name", "weight")
            if not changed or name is None or name not in layer.lora_A:
                continue
            if not value.is_floating_point():
                raise ModelError(
                    f"the base {backbone.name!r} is quantised, so an adapter cannot be merged into it; save the "
                    "adapter alone (save_adapter), or load the base unquantised and merge there"
                )
            value = value + layer.get_delta_weight(name).to(value)
        state[key.replace(".base_layer", "")] = value
    return state


def save_adapter(backbone: Backbone, name: str, folder: str | Path) -> Path:
    """Save one adapter as a standard peft folder, which `PeftModel.from_pretrained` opens."""
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file

    check_adapters(backbone, [name])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(backbone.peft, adapter_name=name, save_embedding_layers=False)
    state = {key: value.detach().contiguous().cpu() for key, value in state.items()}
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = backbone.peft.peft_config[name]
    config.inference_mode = True
    config.save_pretrained(str(folder))
    config.inference_mode = False
    return folder
