"""The choice of a decoder for a model: the fastest whose logits on a probe are the model's own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch

from steersman.errors import ModelError
from steersman.models.backbone import Backbone, nearly_equal
from steersman.models.q_heads import QHeads
from steersman.rollout.decoder import CachedDecoder, Decoder, Path, WholeDecoder
from steersman.rollout.fused import FusedDecoder
from steersman.rollout.graphed import GraphedDecoder, why_not_graphed
from steersman.rollout.layout import why_not
from steersman.rollout.memory import RowMemory
from steersman.rollout.products import default_kernels

PATHS: dict[Path, Callable[[Backbone, str | None, QHeads | None, torch.dtype | None], Decoder]] = {
    "graphed": GraphedDecoder,
    "fused": FusedDecoder,
    "cached": CachedDecoder,
    "whole": WholeDecoder,
}
# Decoders with their own copy of the weights.
COPYING: tuple[Path, ...] = ("graphed", "fused")
# Prompt lengths and new tokens of the probe: of different lengths, and beyond the window of a tiny model.
_PROBE_LENGTHS = (11, 6)
_PROBE_STEPS = 3


def choose_decoder(
    backbone: Backbone,
    adapter: str | None,
    q_heads: QHeads | None,
    wish: Path | Literal["auto"],
    dtype: torch.dtype | None = None,
) -> tuple[Decoder, str]:
    """The decoder, and the reasons against the faster ones ("" if it is the fastest of the device). `dtype` is that of
    a fast decoder's copy of the weights, if not the model's own."""
    reasons: list[str] = []
    for name in PATHS:
        if wish not in ("auto", name) or (wish == "auto" and name == "graphed" and backbone.device.type != "cuda"):
            continue
        with decoding(backbone, fast=name in COPYING):
            made, reason = _try(backbone, adapter, q_heads, name, dtype)
        if made is not None:
            return made, "; ".join(reasons)
        reasons.append(f"{name}: {reason}")
    raise ModelError(
        f"{backbone.name!r} cannot be decoded by the path {wish!r} ({'; '.join(reasons)}); leave the path at 'auto'"
    )


def _try(
    backbone: Backbone, adapter: str | None, q_heads: QHeads | None, path: Path, dtype: torch.dtype | None
) -> tuple[Decoder, str] | tuple[None, str]:
    reason = why_not(backbone) if path in COPYING else None
    if reason is None and path == "graphed":
        reason = why_not_graphed(backbone)
    if reason is not None:
        return None, reason
    try:
        made = PATHS[path](backbone, adapter, q_heads, dtype)
        if path == "whole" or same_logits(made, backbone, adapter, q_heads, steps=_PROBE_STEPS):
            return made, ""
        return None, "its logits on a probe are not the model's"
    except _refusals(path) as error:
        return None, f"{type(error).__name__} on a probe: {str(error).strip().splitlines()[0] if str(error) else ''}"


def _refusals(path: Path) -> tuple[type[Exception], ...]:
    """The errors after which the next decoder is tried: models raise many kinds at an unknown cache or mask, and Triton
    any kind on an unsupported GPU."""
    if path == "graphed":
        return (Exception,)
    return (TypeError, ValueError, AttributeError, RuntimeError, KeyError, IndexError, NotImplementedError)


def same_logits(
    decoder: Decoder, backbone: Backbone, adapter: str | None, q_heads: QHeads | None, *, steps: int
) -> bool:
    """Whether a prefill and some steps give the model's own logits (and Q values) for the whole sequence."""
    plain = WholeDecoder(backbone, adapter, q_heads)
    room = (backbone.context_length or 1024) - steps
    lengths = torch.tensor([max(1, min(n, room)) for n in _PROBE_LENGTHS], device=backbone.device)
    rows, time = len(lengths), int(lengths.max())
    count = rows * (time + steps)
    spread = torch.arange(1, count + 1, device=backbone.device) * max(1, backbone.vocabulary // (count + 1))
    ids = (spread % backbone.vocabulary).view(rows, -1)
    memory, seen = decoder.prefill(ids[:, :time], lengths)
    memory_plain, expected = plain.prefill(ids[:, :time], lengths)
    if not _agree_in_each(expected, seen, q_heads):
        return False
    if steps:
        memory, memory_plain = (
            _roomier(one, held, time + steps, rows) for one, held in ((decoder, memory), (plain, memory_plain))
        )
    for step in range(steps):
        tokens = ids[:, time + step]
        if not _agree_in_each(plain.step(tokens, memory_plain), decoder.step(tokens, memory), q_heads):
            return False
    return True


def _agree_in_each(expected: torch.Tensor, seen: torch.Tensor, q_heads: QHeads | None) -> bool:
    """Whether logits agree, and Q values separately: large numbers of one must not hide an error in the other. The
    tolerance follows the dtype."""
    parts = 1 if q_heads is None else 2
    pairs = zip(expected.to(seen.dtype).chunk(parts, dim=1), seen.chunk(parts, dim=1), strict=True)
    return all(nearly_equal(one, other) for one, other in pairs)


def _roomier(decoder: Decoder, memory: RowMemory, capacity: int, rows: int) -> RowMemory:
    larger = decoder.memory(rows, capacity)
    larger.take(memory, range(rows), range(rows))
    return larger


@contextmanager
def decoding(backbone: Backbone, *, fast: bool) -> Iterator[None]:
    """Context manager for decoding: no gradients, default kernels, and evaluation mode (gradient checkpointing excludes
    a cache).

    Steersman's own decoders run in inference mode; the model's own code only without gradients, since tensors that it
    keeps (such as a longer rotary table) must remain usable in training.
    """
    training = bool(backbone.hf.training)
    if training:
        backbone.hf.eval()
    try:
        with torch.inference_mode() if fast else torch.no_grad(), default_kernels(), _on(backbone.device):
            yield
    finally:
        if training:
            backbone.hf.train()


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Make `device` the current GPU: CUDA graphs and Triton kernels run there, wherever their tensors are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
