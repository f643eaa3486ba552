"""A language model as a Hugging Face folder: whole, with its adapter merged in, or the adapter apart."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from steersman.errors import ModelError, UsageError
from steersman.export.compare import Difference, difference_of, plain_log_probs, probe_ids, source_log_probs
from steersman.export.folder import forget_places
from steersman.loading.saved import open_any_model
from steersman.models.adapters import merged_state, save_adapter
from steersman.models.files import dropout_restored, read_json
from steersman.models.language_model import LanguageModel
from steersman.runs.folder import RunFolder
from steersman.text.tokeniser import load_tokeniser

Adapter = Literal["merge", "apart"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class LanguageExport:
    """What is to be exported, and how. `dtype` None keeps that of the source; `base` names an adapter's base."""

    place: str
    adapter: Adapter
    dtype: torch.dtype | None
    base: str | None


def refuse_quantised(place: str) -> None:
    """An adapter that was trained on a quantised base gives other numbers on the base that is not quantised."""
    run = RunFolder(Path(place).expanduser())
    recipe = run.path / "recipe.toml"
    if not run.is_run or not recipe.exists():
        return
    quantised = tomllib.loads(recipe.read_text(encoding="utf-8")).get("model", {}).get("quantise")
    if quantised not in (None, "none"):
        raise ModelError(
            f"{place} was trained on a base quantised to {quantised} (QLoRA). Merged into the base that is whole, "
            "it would give other numbers; export the adapter alone: --adapter apart"
        )


def export_language(wanted: LanguageExport, folder: Path) -> tuple[Difference, LanguageModel, list[str]]:
    """Write the model into an empty folder. Returns how far it is from its source, the source, and what to know."""
    model = open_any_model(wanted.place, device="cpu")
    notes: list[str] = []
    if model.guide is not None:
        notes.append("its Q heads are left out: decoding with them is Steersman's (steersman serve, q_beta)")
    rows = probe_ids(model.tokeniser, model.context_length)
    before = source_log_probs(model, rows)
    if wanted.adapter == "apart":
        return _apart(wanted, model, folder, rows, before), model, notes
    if model.adapter is not None:
        refuse_quantised(wanted.place)
        notes.append("the adapter is merged into the weights")
    dtype = wanted.dtype or stored_dtype(wanted.place)
    save_whole(model, folder, dtype)
    forget_places(folder, [wanted.place, model.backbone.name, str(Path(wanted.place).expanduser().absolute())])
    return difference_of(before, plain_log_probs(reopened(folder), rows), "log-probs").require(dtype), model, notes


def save_whole(model: LanguageModel, folder: Path, dtype: torch.dtype) -> None:
    backbone = model.backbone
    state = merged_state(backbone, model.adapter) if backbone.peft is not None else backbone.hf.state_dict()
    assert state is not None
    with dropout_restored(backbone):
        backbone.hf.save_pretrained(folder, state_dict=_as_dtype(state, dtype))
    config = read_json(folder / "config.json")
    config["dtype"] = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    model.tokeniser.save_pretrained(folder)


def _as_dtype(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights in this dtype. Weights that share memory (tied ones) go on sharing it, and are stored once."""
    made: dict[tuple[int, torch.Size], Tensor] = {}
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tensor.shape)
        if key not in made:
            made[key] = tensor.to(dtype) if tensor.is_floating_point() else tensor
        found[name] = made[key]
    return found


def stored_dtype(place: str) -> torch.dtype:
    """The dtype in the config of the model's folder, or of its base's; float32 where none says."""
    from transformers import AutoConfig

    from steersman.loading.language_model import base_of
    from steersman.runs.model_folder import finished_model_folder

    found = str(finished_model_folder(place))
    if not Path(found).is_dir():
        found = place
    if place.startswith(("tiny:", "harbour:")):
        return torch.float32
    try:
        dtype = AutoConfig.from_pretrained(base_of(found)).dtype
    except (OSError, ValueError):
        return torch.float32
    return dtype if isinstance(dtype, torch.dtype) and dtype in DTYPES.values() else torch.float32


def reopened(folder: Path) -> Any:
    """The model as anybody opens it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _apart(
    wanted: LanguageExport, model: LanguageModel, folder: Path, rows: list[list[int]], before: list[Tensor]
) -> Difference:
    """The adapter as a peft folder that names its base."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if model.adapter is None:
        raise UsageError(f"{wanted.place} has no adapter: the whole model was trained. Leave out --adapter apart")
    source = str(model.backbone.peft.peft_config[model.adapter].base_model_name_or_path)
    base = wanted.base or source
    if Path(base).expanduser().exists() or base.startswith(("/", "~", ".")) or ":" in base:
        raise UsageError(
            f"the adapter's base is {source}, which others do not have; give --base ORG/NAME, as it is called on the "
            "hub, or merge the adapter (the default)"
        )
    save_adapter(model.backbone, model.adapter, folder)
    model.tokeniser.save_pretrained(folder)
    config = read_json(folder / "adapter_config.json")
    config["base_model_name_or_path"] = base
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    forget_places(folder, [source, model.backbone.name])
    hf: Any = AutoModelForCausalLM.from_pretrained(model.backbone.name, dtype=torch.float32)
    hf.resize_token_embeddings(model.backbone.vocabulary)
    opened = PeftModel.from_pretrained(hf, str(folder)).eval()
    return difference_of(before, plain_log_probs(opened, rows), "log-probs").require(torch.float32)


def same_ids(folder: Path, tokeniser: Any, rows: list[list[int]]) -> bool:
    """Whether the exported tokeniser encodes as the source's does."""
    return probe_ids(load_tokeniser(folder), 256) == rows
