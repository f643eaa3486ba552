"""Mixed precision: master weights, optimiser and losses stay float32; bf16 is autocast around the model.

float16 is not supported on purpose: it needs loss scaling, and every GPU that trains language models today has
bfloat16.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]


def resolve_precision(wish: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
    """For "auto": bf16 on a GPU that supports it natively, else fp32. On a CPU bf16 must be requested."""
    if wish != "auto":
        return wish
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def autocast(precision: Precision, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    if precision == "fp32":
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
