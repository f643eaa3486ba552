"""Position ids and the attention mask of rows that hold several sequences one after another."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def positions_of(segments: Int[Tensor, "batch time"]) -> Int[Tensor, "batch time"]:
    """Position ids that restart at 0 with each segment (padding is a segment of its own)."""
    index = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    starts = torch.ones_like(segments, dtype=torch.bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return index - torch.where(starts, index, 0).cummax(dim=1).values


def block_mask(segments: Int[Tensor, "batch time"], dtype: torch.dtype) -> Float[Tensor, "batch 1 time time"]:
    """The additive attention mask of packed rows: a token attends only to earlier tokens of its own segment."""
    time = segments.shape[1]
    causal = torch.ones((time, time), dtype=torch.bool, device=segments.device).tril()
    visible = (segments[:, :, None] == segments[:, None, :]) & causal
    mask = torch.zeros(visible.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill(~visible, torch.finfo(dtype).min)[:, None]
