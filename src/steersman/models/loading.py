"""Loads a causal language model from a folder or hub id, and refuses what is none. What it supports is tried on a few
tokens (trials.py)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from steersman.errors import MissingLibrary, ModelError
from steersman.models.backbone import Backbone
from steersman.models.finite import check_loaded
from steersman.models.hub import refuse_unknown
from steersman.models.limits import check_config
from steersman.models.trials import find_packing, find_readout, find_unpadded, refuse_if_not_causal
from steersman.runs.verified import verify_model

Quantise = Literal["4bit", "8bit"]

# Layers that transformers' sequence classifiers add to a trunk trained for another task.
NEW_LAYERS = re.compile(r"^(score|classifier|pre_classifier)\b|\bpooler\b")


def load_causal(
    path_or_id: str | Path,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    revision: str | None = None,
    trust_remote_code: bool = False,
    quantise: Quantise | None = None,
    attention: str | None = None,
) -> Backbone:
    """A causal language model, ready for training, with dropout off.

    `attention` is transformers' attn_implementation; None is its default (sdpa where the model has it).
    """
    from transformers import AutoModelForCausalLM

    model, original_dropout = open_model(
        AutoModelForCausalLM,
        ModelSource(path_or_id, revision, trust_remote_code),
        dtype=dtype,
        device=device,
        quantise=quantise,
        attention=attention,
    )
    backbone = Backbone(model, name=str(path_or_id), readout=None, packing=None)
    backbone.original_dropout = original_dropout
    refuse_if_not_causal(backbone)
    backbone.readout = find_readout(backbone)
    backbone.packing = find_packing(backbone)
    backbone.unpadded = find_unpadded(backbone)
    return backbone


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are: a folder or a hub id, its revision, and whether code from there may run."""

    path_or_id: str | Path
    revision: str | None
    trust_remote_code: bool


def open_model(
    kind: Any,
    source: ModelSource,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    quantise: Quantise | None = None,
    attention: str | None = None,
    labels: int | None = None,
) -> tuple[Any, dict[str, float]]:
    """A Hugging Face model of this Auto class with no weight missing, and the dropout values that were set to 0.

    With `labels` it gets an output layer for that many classes, which may be new.
    """
    from transformers import AutoConfig

    path_or_id = source.path_or_id
    name = resolve(path_or_id, source.revision)
    options: dict[str, Any] = {"revision": source.revision, "trust_remote_code": source.trust_remote_code}
    placing: dict[str, Any] = {"device_map": {"": device}} if quantise else {}
    if quantise:
        placing["quantization_config"] = quantisation(quantise, dtype)
    if attention:
        placing["attn_implementation"] = attention
    try:
        config = AutoConfig.from_pretrained(name, **options, **({"num_labels": labels} if labels else {}))
        check_config(config, name)
        original_dropout = disable_dropout(config)
        model, info = kind.from_pretrained(
            name, config=config, dtype=dtype, output_loading_info=True, use_safetensors=True, **placing, **options
        )
    except (MissingLibrary, ModelError):
        raise
    except Exception as error:
        # transformers, safetensors and the hub raise a dozen unrelated types here; all become one readable message.
        hub_pickle = not Path(name).exists() and "named model.safetensors" in str(error)
        raise _not_loaded(path_or_id, error, f". {how_to_convert(name)}" if hub_pickle else "") from error
    missing = sorted(key for key in info["missing_keys"] if not (labels and NEW_LAYERS.search(key)))
    if missing:
        raise ModelError(
            f"{str(path_or_id)!r} lacks {len(missing)} weights of a {type(model).__name__} (first: {missing[0]}), "
            "which would stay random. Expected a model saved as this kind; check the folder's config.json"
        )
    check_loaded(path_or_id, model.named_parameters())
    model = model if quantise else model.to(device)
    return model.eval(), original_dropout


def class_names(path_or_id: str | Path) -> list[str]:
    """The names of a classifier's classes, in their order, from its config."""
    from transformers import AutoConfig

    try:
        names: dict[Any, Any] = dict(AutoConfig.from_pretrained(str(path_or_id)).id2label or {})
        return [str(names[i]) for i in sorted(names)]
    except Exception as error:  # as many types as in `open_model`
        raise _not_loaded(path_or_id, error) from error


def _not_loaded(path_or_id: str | Path, error: Exception, more: str = "") -> ModelError:
    return ModelError(
        f"no model could be loaded from {str(path_or_id)!r}: {_short(error)}. Expected a Hugging Face model folder "
        "(config.json and safetensors) or a hub id that is cached or can be downloaded; check the name, the "
        f"folder's files and the connection{more}"
    )


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:300].rstrip('. ')}"


def resolve(path_or_id: str | Path, revision: str | None = None) -> str:
    """The name to pass to transformers. A missing folder, one without a model, or a damaged one of ours raises a
    readable error at once."""
    folder = Path(path_or_id).expanduser()
    text = str(path_or_id)
    if not folder.exists():
        if isinstance(path_or_id, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
            raise ModelError(
                f"there is no folder {text!r}; expected a Hugging Face model folder. Check the path (relative to "
                f"{Path.cwd()}), or give a hub id such as 'organisation/model'"
            )
        refuse_unknown(text, revision)
        return text
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{text!r} is an adapter, not a whole model; load its base model first and then this adapter on it "
            "(load_adapter)"
        )
    if not (folder / "config.json").exists():
        content = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) if folder.is_dir() else "a file"
        raise ModelError(
            f"{text!r} is no model folder: it has no config.json (seen: {content or 'nothing'}). Give the folder that "
            "holds config.json and the safetensors files; in a run folder it is under checkpoints/ or model/"
        )
    pickles = sorted(p.name for p in folder.glob("*.*") if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
    if pickles and not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{text!r} holds its weights as a pickle ({pickles[0]}), which may run code when it is opened; it was not "
            f"opened. {how_to_convert(text)}"
        )
    verify_model(folder)
    return str(folder)


def how_to_convert(name: str) -> str:
    """What to do with a model that is there as a pickle only."""
    return (
        "If you trust its source, convert it once: "
        f'python -c "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; n = {name!r}; '
        "[k.from_pretrained(n).save_pretrained('converted') for k in (M, T)]\", and give the folder 'converted'"
    )


def quantisation(quantise: Quantise, dtype: torch.dtype) -> Any:
    """bitsandbytes settings for a frozen base with adapters (QLoRA, arXiv 2305.14314: NF4, double quantisation)."""
    import importlib.util

    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingLibrary(
            f"loading the base in {quantise} needs bitsandbytes, which is not installed; "
            "pip install 'steersman[qlora]', or leave quantise out"
        )
    from transformers import BitsAndBytesConfig

    if quantise == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def disable_dropout(config: Any) -> dict[str, float]:
    """Set every dropout of a config to 0 (router jitter and layer dropout too) and return the original values."""
    original_dropout: dict[str, float] = {}
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        for key, value in list(part.to_dict().items()):
            is_dropout = (
                "dropout" in key or "pdrop" in key or key in ("layerdrop", "router_jitter_noise", "input_jitter_noise")
            )
            if is_dropout and isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                setattr(part, key, type(value)(0))
                original_dropout[key] = value
    return original_dropout


def learn_every_row(backbone: Backbone, tokeniser: Any) -> None:
    """Let the embedding of EOS learn, where the model's config takes it for padding.

    torch gives the row of an embedding's padding_idx no gradient.
    """
    embedding = backbone.hf.get_input_embeddings()
    if getattr(embedding, "padding_idx", None) in {tokeniser.eos_token_id, tokeniser.bos_token_id} - {None}:
        embedding.padding_idx = None


def fit_vocabulary(backbone: Backbone, tokeniser: Any) -> bool:
    """Extend the embeddings to the tokeniser's vocabulary and set its PAD id; True if rows were added.

    New rows are the mean of the old ones, so that an untrained token is neither likely nor an outlier.
    """
    before, needed = backbone.vocabulary, len(tokeniser)
    config = backbone.config.get_text_config()
    if needed > before:
        backbone.hf.resize_token_embeddings(needed, mean_resizing=False)
        layers = {
            id(m.weight): m for m in (backbone.hf.get_input_embeddings(), backbone.hf.get_output_embeddings()) if m
        }
        with torch.no_grad():
            for layer in layers.values():
                layer.weight[before:] = layer.weight[:before].float().mean(0).to(layer.weight.dtype)
                if getattr(layer, "bias", None) is not None:
                    layer.bias[before:] = layer.bias[:before].min()
    if tokeniser.pad_token_id is not None:
        config.pad_token_id = tokeniser.pad_token_id
        if getattr(backbone.hf, "generation_config", None) is not None:
            backbone.hf.generation_config.pad_token_id = tokeniser.pad_token_id
    return needed > before
