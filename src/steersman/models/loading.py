"""Opening a causal language model from a folder or hub id, and finding out by trial what it can do.

Nothing is taken on trust: the softcap and scale read from the config are checked against the model's own logits, and a
way of packing is used only if packed hidden states equal unpacked ones.
"""

import re
import sys
from pathlib import Path
from typing import Any, Literal

import torch

from steersman.batches import TokenBatch
from steersman.errors import MissingLibrary, ModelError
from steersman.models.backbone import Backbone, Packing, Readout, agree
from steersman.models.fused import fuse, unfuse
from steersman.models.unpadded import install

Quantise = Literal["4bit", "8bit"]

# What a sequence classifier of transformers puts on a trunk that was trained for something else.
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

    `attention` is transformers' attn_implementation; None leaves the choice to it (sdpa where the model has it).
    """
    from transformers import AutoModelForCausalLM

    model, silenced = open_model(
        AutoModelForCausalLM,
        path_or_id,
        dtype=dtype,
        device=device,
        revision=revision,
        trust_remote_code=trust_remote_code,
        quantise=quantise,
        attention=attention,
    )
    backbone = Backbone(model, name=str(path_or_id), readout=None, packing=None)
    backbone.silenced = silenced
    backbone.readout = find_readout(backbone)
    backbone.packing = find_packing(backbone)
    backbone.unpadded = find_unpadded(backbone)
    return backbone


def open_model(
    kind: Any,
    path_or_id: str | Path,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    revision: str | None,
    trust_remote_code: bool,
    quantise: Quantise | None = None,
    attention: str | None = None,
    labels: int | None = None,
) -> tuple[Any, dict[str, float]]:
    """A Hugging Face model of this Auto class with every weight found, and the dropout settings that were silenced.

    With `labels` it gets an output layer for so many classes, which may be new."""
    from transformers import AutoConfig

    name = resolve(path_or_id)
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    placing: dict[str, Any] = {"device_map": {"": device}} if quantise else {}
    if quantise:
        placing["quantization_config"] = quantisation(quantise, dtype)
    if attention:
        placing["attn_implementation"] = attention
    try:
        config = AutoConfig.from_pretrained(name, **options, **({"num_labels": labels} if labels else {}))
        silenced = silence_dropout(config)
        model, found = kind.from_pretrained(
            name, config=config, dtype=dtype, output_loading_info=True, **placing, **options
        )
    except MissingLibrary:
        raise
    except Exception as error:
        # transformers, safetensors and the hub raise a dozen unrelated types here; each becomes one readable message.
        raise ModelError(
            f"no model could be loaded from {str(path_or_id)!r}: {_short(error)}. Expected a Hugging Face model folder "
            "(config.json and safetensors) or a hub id that is cached or can be downloaded; check the name, the "
            "folder's files and the connection"
        ) from error
    missing = sorted(key for key in found["missing_keys"] if not (labels and NEW_LAYERS.search(key)))
    if missing:
        raise ModelError(
            f"{str(path_or_id)!r} lacks {len(missing)} weights of a {type(model).__name__} (first: {missing[0]}), which would "
            "stay random. Expected a model saved as this kind; `steersman` names a folder's kind with `describe`"
        )
    model = model if quantise else model.to(device)
    return model.eval(), silenced


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:300].rstrip('. ')}"


def resolve(path_or_id: str | Path) -> str:
    """The name to give transformers; a folder that is not there or holds no model is said at once and plainly."""
    folder = Path(path_or_id).expanduser()
    text = str(path_or_id)
    if not folder.exists():
        if isinstance(path_or_id, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
            raise ModelError(
                f"there is no folder {text!r}; expected a Hugging Face model folder. Check the path (relative to "
                f"{Path.cwd()}), or give a hub id such as 'organisation/model'"
            )
        return text
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{text!r} is an adapter, not a whole model; load its base model first and then this adapter on it "
            "(load_adapter)"
        )
    if not (folder / "config.json").exists():
        seen = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) if folder.is_dir() else "a file"
        raise ModelError(
            f"{text!r} is no model folder: it has no config.json (seen: {seen or 'nothing'}). Give the folder that "
            "holds config.json and the safetensors files; in a run folder that is below checkpoints/ or model/"
        )
    return str(folder)


def quantisation(quantise: Quantise, dtype: torch.dtype) -> Any:
    """The bitsandbytes settings for a frozen base under adapters (QLoRA, arXiv 2305.14314: NF4, double quantisation)."""
    import importlib.util

    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingLibrary(
            f"the base is to be loaded in {quantise}, which needs bitsandbytes, and that is not installed; "
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


def silence_dropout(config: Any) -> dict[str, float]:
    """Set every dropout of a config to 0 (routers' jitter and dropped layers too) and say what it was."""
    silenced: dict[str, float] = {}
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        for key, value in list(part.to_dict().items()):
            noisy = (
                "dropout" in key or "pdrop" in key or key in ("layerdrop", "router_jitter_noise", "input_jitter_noise")
            )
            if noisy and isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                setattr(part, key, type(value)(0))
                silenced[key] = value
    return silenced


def find_readout(backbone: Backbone) -> Readout | None:
    """Softcap and scale from the config, if they give the model's own logits on a probe; else None."""
    text = backbone.config.get_text_config()
    scale = getattr(text, "logit_scale", None) or getattr(text, "lm_head_multiplier", None) or 1.0
    scale = scale / (getattr(text, "logits_scaling", None) or 1.0)
    readout = Readout(softcap=getattr(text, "final_logit_softcapping", None), scale=float(scale))
    head = backbone.hf.get_output_embeddings()
    ids = _probe_ids(backbone, 8)[None]
    with torch.no_grad():
        expected = backbone.hf(input_ids=ids, use_cache=False).logits
        product = head(backbone.trunk(input_ids=ids, use_cache=False).last_hidden_state) * readout.scale
    if readout.softcap:
        product = readout.softcap * torch.tanh(product / readout.softcap)
    return readout if product.shape == expected.shape and agree(expected, product) else None


def find_packing(backbone: Backbone) -> Packing | None:
    """The first way of packing under which packed hidden states equal unpacked ones; None if none does."""
    ways: tuple[Packing, ...] = ("positions", "mask")
    if str(backbone.config._attn_implementation).startswith("flash"):
        ways = ("flat",)
    if getattr(backbone.config.get_text_config(), "sliding_window", None):
        # A mask of our own would replace the sliding window, which a short probe cannot see.
        ways = tuple(way for way in ways if way != "mask")
    # Rows of 6 and 4 tokens, and of 5 and 1 before padding, once packed and once each by itself.
    ids = _probe_ids(backbone, 20).view(2, 10)
    none = torch.zeros_like(ids, dtype=torch.bool)
    marks = torch.tensor([[1] * 6 + [2] * 4, [1] * 5 + [2] + [0] * 4], device=ids.device)
    packed = TokenBatch(ids, none, torch.tensor([10, 6], device=ids.device), marks)
    spans = ((0, 0, 6), (0, 6, 10), (1, 0, 5), (1, 5, 6))
    for way in ways:
        backbone.packing = way
        if all(_same_packed(backbone, packed, span) for span in spans):
            return way
    return None


def find_unpadded(backbone: Backbone) -> int:
    """The longest rows that, laid one after another without padding, give the hidden states each gives by itself; 0 if the
    model cannot do it. Rows that fit into a window or chunk of attention never meet its edge. Layers that
    can compute as one step do so from here on, if that gives the same too."""
    text = backbone.config.get_text_config()
    windows = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    longest = min([window for window in windows if window] or [sys.maxsize])
    able = backbone.device.type == "cpu" or (backbone.device.type == "cuda" and torch.cuda.is_bf16_supported())
    if not able or longest < 2 or backbone.config._attn_implementation != "sdpa":
        return 0
    install()
    ids = _probe_ids(backbone, 40).view(4, 10)[:, :longest]
    width = ids.shape[1]
    # the second row begins as the first does, so that what they share is computed once
    ids[1, :-1] = ids[0, :-1]
    lengths = torch.tensor([width, width, width // 2, 1], device=ids.device)
    batch = TokenBatch(ids, torch.zeros_like(ids, dtype=torch.bool), lengths, None)
    with torch.no_grad():
        if backbone.device.type == "cuda":
            with torch.autocast("cuda", dtype=torch.bfloat16):
                alone = backbone.hidden(batch)
                # float32 at the end, of products in bf16
                return longest if _same_unpadded(backbone, batch, alone, longest, kind=torch.bfloat16) else 0
        alone = backbone.hidden(batch)
        if fuse(backbone.trunk):
            backbone.fused = _same_unpadded(backbone, batch, alone, longest)
            if backbone.fused:
                return longest
            unfuse(backbone.trunk)
        return longest if _same_unpadded(backbone, batch, alone, longest) else 0


def _same_unpadded(
    backbone: Backbone, batch: TokenBatch, alone: torch.Tensor, longest: int, *, kind: torch.dtype | None = None
) -> bool:
    """Whether the real tokens have the same hidden states without their padding, as exactly as numbers of this kind can say."""
    backbone.unpadded = longest
    read = batch.lengths.clone()
    read[1] = 1
    try:
        together = backbone.hidden(batch, read)
    except (ModelError, TypeError, ValueError, RuntimeError, NotImplementedError, IndexError, AttributeError):
        return False
    finally:
        backbone.unpadded = 0
    there = torch.arange(batch.ids.shape[1], device=batch.ids.device)
    seen = batch.attention_mask & (there >= (batch.lengths - read)[:, None])
    return agree(alone[seen].to(kind or alone.dtype), together[seen].to(kind or together.dtype))


def _same_packed(backbone: Backbone, packed: TokenBatch, span: tuple[int, int, int]) -> bool:
    row, start, end = span
    ids = packed.ids[row : row + 1, start:end]
    alone = TokenBatch(ids, torch.zeros_like(ids, dtype=torch.bool), packed.lengths.new_tensor([end - start]), None)
    with torch.no_grad():
        try:
            together = backbone.hidden(packed)[row : row + 1, start:end]
        except (TypeError, ValueError, RuntimeError, NotImplementedError):
            return False
        return agree(backbone.hidden(alone), together)


def _probe_ids(backbone: Backbone, length: int) -> torch.Tensor:
    """Different ids, spread over the vocabulary, the same every time."""
    step = max(1, backbone.vocabulary // (length + 2))
    return (torch.arange(1, length + 1, device=backbone.device) * step) % backbone.vocabulary


def fit_vocabulary(backbone: Backbone, tokeniser: Any) -> bool:
    """Give the model a row for each id of the tokeniser, and its PAD; True if rows were added.

    New rows are the mean of the old ones, so that no new token is likely or odd before it was ever trained.
    """
    before, wanted = backbone.vocabulary, len(tokeniser)
    config = backbone.config.get_text_config()
    if wanted > before:
        backbone.hf.resize_token_embeddings(wanted, mean_resizing=False)
        layers = {
            id(m.weight): m for m in (backbone.hf.get_input_embeddings(), backbone.hf.get_output_embeddings()) if m
        }
        with torch.no_grad():
            for layer in layers.values():
                layer.weight[before:] = layer.weight[:before].float().mean(0).to(layer.weight.dtype)
                if getattr(layer, "bias", None) is not None:
                    layer.bias[before:] = layer.bias[:before].min()
    config.pad_token_id = tokeniser.pad_token_id
    if getattr(backbone.hf, "generation_config", None) is not None:
        backbone.hf.generation_config.pad_token_id = tokeniser.pad_token_id
    return wanted > before
