"""Opens any model by name, also a checkpoint in the middle of a run."""

import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from torch import Tensor

from steersman.errors import CheckpointError, ModelError
from steersman.execution.machine import resolve_device
from steersman.loading.language_model import base_of, load_language_model, model_path
from steersman.models.acting import adapter_names
from steersman.models.adapters import load_adapter
from steersman.models.backbone import Backbone
from steersman.models.language_model import LanguageModel
from steersman.models.loading import fit_vocabulary, load_causal
from steersman.models.q_heads import Guide, heads_for, load_guide
from steersman.runs.checkpoints import CheckpointStore
from steersman.runs.kinds import WITH_LANGUAGE_MODEL
from steersman.runs.stamp import read_stamp
from steersman.settings.base import check, read_recipe
from steersman.settings.parts import ModelSettings
from steersman.text.tokeniser import load_tokeniser, use_known_pad
from steersman.train.checkpoint import load_weight_tensors
from steersman.train.optim import trainable

STEP = re.compile(r"step-\d{6,}")


def open_any_model(name: str, *, device: str) -> LanguageModel:
    """A model by name: a folder, run, checkpoint folder, adapter, hub id, harbour:base or tiny:<family>."""
    folder = Path(name).expanduser()
    if STEP.fullmatch(folder.name) and folder.is_dir():
        return open_checkpoint(folder, device=device)
    return open_model(name, device=device)


def open_checkpoint(folder: Path, *, device: str) -> LanguageModel:
    """The policy at this step: the checkpoint's weights in the model of the run's recipe. Hashes are verified first."""
    run = folder.absolute().parents[1]
    problems = CheckpointStore(folder.parent).verify(folder)
    if problems:
        raise CheckpointError(
            f"{folder} is damaged: {'; '.join(problems)}. Leave it out, or name another checkpoint of {run}"
        )
    if not (run / "recipe.toml").exists() or not (run / "stamp.json").exists():
        raise ModelError(
            f"{folder} lies in no run: {run} has no recipe.toml and stamp.json; keep checkpoints in their run's folder"
        )
    kind = read_stamp(run / "stamp.json").get("kind")
    if kind not in WITH_LANGUAGE_MODEL:
        raise ModelError(
            f"{folder} is of a run of the kind {kind}, which makes no language model; expected "
            f"{', '.join(WITH_LANGUAGE_MODEL)}"
        )
    recipe = read_recipe(run / "recipe.toml")
    # A recipe without this setting is of a time when a PAD was added.
    settings = check(ModelSettings, {"own_pad": True, **recipe["model"]})
    model = load_language_model(settings, resolve_device(device))
    weights = load_file(folder / "weights.safetensors")
    load_weight_tensors(model.backbone, _policy(weights, {name for name, _ in trainable(model.backbone)}))
    model.backbone.eval()
    return replace(model, guide=_guide(model, weights, recipe["beta"])) if kind == "ilql" else model


def _guide(model: LanguageModel, weights: dict[str, Tensor], beta: float) -> Guide:
    """The Q heads at this step."""
    heads = heads_for(model.backbone)
    heads.load_state_dict({k.removeprefix("heads."): v for k, v in weights.items() if k.startswith("heads.")})
    return Guide(heads.eval().requires_grad_(False), float(beta))


def _policy(weights: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """The policy's weights. A run with a critic stores both, under two prefixes."""
    found = {name.removeprefix("backbone."): value for name, value in weights.items()}
    return {name: value for name, value in found.items() if name in wanted}


def open_model(
    name: str, *, device: str, revision: str | None = None, bases: dict[str, Backbone] | None = None
) -> LanguageModel:
    """A model to sample from: a folder, run, adapter folder, hub id, harbour:base or tiny:<family>.

    `bases` keeps the base models by path: several adapters on one base share it.
    """
    bases = {} if bases is None else bases
    with TemporaryDirectory() as scratch:
        path = model_path(name, Path(scratch), revision)
        base = base_of(path)
        tokeniser = load_tokeniser(path, revision=revision)
        where = resolve_device(device)
        dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
        if base not in bases:
            bases[base] = load_causal(base, dtype=dtype, device=where, revision=revision if base == path else None)
        backbone = bases[base]
        use_known_pad(tokeniser)
        fit_vocabulary(backbone, tokeniser)
        adapter = None
        if base != path:
            adapter = f"policy_{len(adapter_names(backbone))}" if adapter_names(backbone) else "policy"
            load_adapter(backbone, adapter, path)
        guide = load_guide(backbone, path)
    backbone.eval()
    return LanguageModel(backbone, tokeniser, adapter, False, guide)
