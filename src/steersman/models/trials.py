"""Tries what a loaded language model supports, on a few probe tokens: whether it is causal, its softcap and scale,
packing, and rows without padding.
"""

import sys

import torch

from steersman.batches import TokenBatch
from steersman.errors import ModelError
from steersman.models.backbone import Backbone, Packing, Readout, nearly_equal
from steersman.models.fused import fuse, unfuse
from steersman.models.unpadded import install


def refuse_if_not_causal(backbone: Backbone) -> None:
    """Raise if a later token changes the logits of an earlier one, as in BERT, which transformers loads as causal."""
    ids = _probe_ids(backbone, 8).repeat(2, 1)
    ids[1, -1] = ids[1, 0]
    with torch.no_grad():
        logits = backbone.hf(input_ids=ids, use_cache=False).logits[:, :-1]
    if not nearly_equal(logits[0], logits[1]):
        raise ModelError(
            f"{backbone.name!r} ({type(backbone.hf).__name__}) is no causal language model: its logits for a token "
            "depend on later tokens, so it cannot write text. Give a causal model (Llama, GPT-2 …). Classifiers of "
            "this kind are trained by `steersman classifier` and taken by scorer.path"
        )


def find_readout(backbone: Backbone) -> Readout | None:
    """Softcap and scale from the config, if they reproduce the model's logits on probe tokens; else None."""
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
    return readout if product.shape == expected.shape and nearly_equal(expected, product) else None


def find_packing(backbone: Backbone) -> Packing | None:
    """The first packing method under which packed hidden states equal unpacked ones; None if there is none."""
    ways: tuple[Packing, ...] = ("positions", "mask")
    if str(backbone.config._attn_implementation).startswith("flash"):
        ways = ("flat",)
    if getattr(backbone.config.get_text_config(), "sliding_window", None):
        # Our own mask would replace the sliding window, which a short probe cannot detect.
        ways = tuple(way for way in ways if way != "mask")
    # Sequences of 6 and 4 tokens, and of 5 and 1 before padding: packed, and each by itself.
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
    """The longest rows whose hidden states stay the same when rows are concatenated without padding; 0 if none do.

    Rows that fit into an attention window or chunk are not affected by it. Layers that can be fused are fused from here
    on, if the hidden states stay the same.
    """
    text = backbone.config.get_text_config()
    windows = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    longest = min([window for window in windows if window] or [sys.maxsize])
    able = backbone.device.type == "cpu" or (backbone.device.type == "cuda" and torch.cuda.is_bf16_supported())
    if not able or longest < 2 or backbone.config._attn_implementation != "sdpa":
        return 0
    install()
    ids = _probe_ids(backbone, 40).view(4, 10)[:, :longest]
    width = ids.shape[1]
    # the second row shares a prefix with the first, so that the prefix is computed once
    ids[1, :-1] = ids[0, :-1]
    lengths = torch.tensor([width, width, width // 2, 1], device=ids.device)
    batch = TokenBatch(ids, torch.zeros_like(ids, dtype=torch.bool), lengths, None)
    with torch.no_grad():
        if backbone.device.type == "cuda":
            with torch.autocast("cuda", dtype=torch.bfloat16):
                alone = backbone.hidden(batch)
                # the final hidden states are float32, computed from bf16 products
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
    """Whether real tokens have the same hidden states without padding, up to rounding of dtype `kind`."""
    backbone.unpadded = longest
    read = batch.lengths.clone()
    read[1] = 1
    try:
        without_padding = backbone.hidden(batch, read)
    except (ModelError, TypeError, ValueError, RuntimeError, NotImplementedError, IndexError, AttributeError):
        return False
    finally:
        backbone.unpadded = 0
    column = torch.arange(batch.ids.shape[1], device=batch.ids.device)
    compared = batch.attention_mask & (column >= (batch.lengths - read)[:, None])
    expected, actual = alone[compared], without_padding[compared]
    return nearly_equal(expected.to(kind or expected.dtype), actual.to(kind or actual.dtype))


def _same_packed(backbone: Backbone, packed: TokenBatch, span: tuple[int, int, int]) -> bool:
    row, start, end = span
    ids = packed.ids[row : row + 1, start:end]
    alone = TokenBatch(ids, torch.zeros_like(ids, dtype=torch.bool), packed.lengths.new_tensor([end - start]), None)
    with torch.no_grad():
        try:
            together = backbone.hidden(packed)[row : row + 1, start:end]
        except (TypeError, ValueError, RuntimeError, NotImplementedError):
            return False
        return nearly_equal(backbone.hidden(alone), together)


def _probe_ids(backbone: Backbone, length: int) -> torch.Tensor:
    """Distinct ids, spread over the vocabulary, the same at every call."""
    step = max(1, backbone.vocabulary // (length + 2))
    return (torch.arange(1, length + 1, device=backbone.device) * step) % backbone.vocabulary
