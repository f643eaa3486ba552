"""Loads a language model from settings (tokeniser, backbone, adapter), shards it and saves it."""

import difflib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from steersman.errors import ModelError, UsageError
from steersman.models.adapters import add_lora, load_adapter
from steersman.models.backbone import Backbone, layers_of
from steersman.models.files import describe
from steersman.models.hub import refuse_unknown
from steersman.models.language_model import LanguageModel
from steersman.models.loading import fit_vocabulary, learn_every_row, load_causal
from steersman.models.tiny import FAMILIES, write_tiny_model
from steersman.parallel.shard import shard
from steersman.parallel.world import World
from steersman.runs.folder import RunFolder
from steersman.runs.model_folder import finished_model_folder
from steersman.settings.parts import ModelSettings
from steersman.text.tokeniser import give_pad, load_tokeniser, use_known_pad
from steersman.train.checkpoint import load_weight_tensors

POLICY = "policy"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_language_model(
    settings: ModelSettings, device: torch.device, *, adapter: str = POLICY, own_pad: bool | None = None
) -> LanguageModel:
    """The model; with `lora` settings, a new adapter with this name is added.

    `own_pad` is that of the settings, unless given: whether a row is added for a PAD that is neither EOS nor BOS.
    """
    if settings.trust_remote_code and not settings.revision and not Path(settings.path).expanduser().exists():
        raise UsageError(
            "model.trust_remote_code needs model.revision, so that the code that runs is code you have seen"
        )
    if settings.quantise and settings.lora is None:
        raise UsageError("a quantised model cannot be trained by itself; add adapters with model.lora.rank=16 (QLoRA)")
    with tempfile.TemporaryDirectory() as scratch:
        path = model_path(settings.path, Path(scratch), settings.revision)
        base = model_path(base_of(path), Path(scratch) / "base")
        tokeniser = load_tokeniser(path, revision=settings.revision, trust_remote_code=settings.trust_remote_code)
        backbone = load_causal(
            base,
            dtype=_dtype(settings, device),
            device=device,
            revision=settings.revision if base == path else None,
            trust_remote_code=settings.trust_remote_code,
            quantise=settings.quantise,
        )
        own_pad = settings.own_pad if own_pad is None else own_pad
        said = ""
        if own_pad:
            give_pad(tokeniser)
        else:
            said = use_known_pad(tokeniser)
            learn_every_row(backbone, tokeniser)
        fit_vocabulary(backbone, tokeniser)
        if base != path:
            _merge(backbone, path)
        if settings.path.startswith("tiny:"):
            # The model is made again from its name; its temporary folder will be deleted.
            backbone.hf.name_or_path = settings.path
    if settings.gradient_checkpointing:
        backbone.use_gradient_checkpointing(True)
    if settings.lora is None:
        return LanguageModel(backbone, tokeniser, None, base != path, notes=(said,) if said else ())
    lora = settings.lora
    add_lora(backbone, adapter, rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, targets=lora.targets)
    return LanguageModel(backbone, tokeniser, adapter, base != path, notes=(said,) if said else ())


def model_path(name: str, scratch: Path, revision: str | None = None) -> str:
    """A model's folder or hub id, from any name.

    `harbour:base` ships with the package, `tiny:<family>` is made in `scratch`; for all others see `runs.model_folder`.
    """
    scheme, _, rest = name.partition(":")
    if scheme == "tiny":
        if rest not in FAMILIES:
            raise UsageError(f"there is no tiny model {rest!r}; expected one of {', '.join(FAMILIES)}")
        return str(write_tiny_model(scratch / rest, rest, context=512, hidden=64))
    if scheme == "harbour":
        from steersman.harbour.base_model import base_path

        if rest != "base":
            raise UsageError(f"harbour has one model, harbour:base; seen {name!r}")
        return str(base_path())
    refuse_missing_folder(name)
    if ":" not in name and not Path(name).expanduser().exists():
        refuse_unknown(name, revision)
    found = finished_model_folder(name)
    return name if found == Path(name).expanduser() else str(found)


def refuse_missing_folder(name: str) -> None:
    """Raise if a name can only mean a folder and there is none. The hub would be asked for a minute, for nothing."""
    path = Path(name).expanduser()
    plain = path.parent == Path() and not name.startswith("./")
    if ":" in name or plain or path.exists():
        return
    siblings = [one for one in path.parent.iterdir() if one.is_dir()] if path.parent.is_dir() else []
    local = name.startswith((".", "/", "~")) or len(path.parts) > 2 or any(RunFolder(one).is_run for one in siblings)
    if not local:
        return
    near = difflib.get_close_matches(path.name, [one.name for one in siblings], n=1)
    there = ", ".join(sorted(one.name for one in siblings)[:8]) or "no folders"
    hint = f"did you mean {str(path.parent / near[0])!r}?" if near else f"{path.parent} has {there}"
    raise ModelError(f"there is no folder {name!r} (seen from {Path.cwd()}); {hint}")


def base_of(path: str) -> str:
    """The base model of an adapter folder, or the path itself."""
    if not (Path(path).expanduser() / "adapter_config.json").exists():
        return path
    base = describe(path).base
    if not base:
        raise ModelError(
            f"the adapter in {path!r} does not say which base model it was made for (base_model_name_or_path)"
        )
    return base


def shard_model(model: nn.Module, backbone: Backbone, world: World, *, entrances: tuple[str, ...]) -> None:
    shard(model, layers_of(backbone), entrances, world)


def saving(settings: ModelSettings, model: LanguageModel) -> Callable[[Path, Mapping[str, Tensor] | None], None]:
    """A function that saves the model. A model that is sharded is loaded once more and given its gathered weights."""

    def save(folder: Path, weights: Mapping[str, Tensor] | None) -> None:
        whole = model
        if weights is not None:
            # The chat template may have been given when the rows were read.
            whole = replace(load_language_model(settings, torch.device("cpu")), tokeniser=model.tokeniser)
            load_weight_tensors(whole.backbone, weights)
        whole.save(folder)

    return save


def _merge(backbone: Backbone, adapter: str) -> None:
    """Merge the adapter into the base model. There is then one reference model."""
    load_adapter(backbone, "start", adapter)
    backbone.hf = backbone.peft.merge_and_unload()
    backbone.__dict__["peft"] = None
    backbone.adapter, backbone.adapted = None, []
    backbone.hf.requires_grad_(True)


def _dtype(settings: ModelSettings, device: torch.device) -> torch.dtype:
    if settings.dtype != "auto":
        return DTYPES[settings.dtype]
    frozen_on_gpu = settings.lora is not None and device.type == "cuda"
    return torch.bfloat16 if frozen_on_gpu else torch.float32
