"""Matrix products for decoding: few rows, and the same weight every time.

On a CPU a weight is packed once for oneDNN's kernels, which are 1.6 times as fast as torch's default at 64 rows and 2
to 5 times at 4 to 16 (2 cores with AVX-512, float32), and as exact. Only these products use oneDNN: the setting that
sends every float32 product there makes attention of one query ten times slower.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Product = Callable[[Tensor], Tensor]
"""x -> x @ weight.T + bias, for x of two dimensions."""

# Float32 products of this size err by about 1e-6; bfloat16 inputs would err by 4e-3.
_LARGEST_ERROR = 1e-5
# oneDNN compiles and keeps a kernel for every shape, so steps have one of these widths, with idle rows.
_WIDTHS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128)
# The number of rows for which a weight is packed.
_TYPICAL_ROWS = 64


def width_for(rows: int) -> int:
    """The width of a step with so many rows."""
    return next((width for width in _WIDTHS if width >= rows), -(-rows // 32) * 32)


def product(weight: Float[Tensor, "out hidden"], bias: Float[Tensor, " out"] | None) -> Product:
    """The product with this weight, packed if that is faster; the weight itself is then no longer needed."""
    if weight.device.type == "cpu" and weight.dtype == torch.float32 and packing_is_exact():
        return _Packed(weight, bias)
    weight = weight.contiguous()
    return lambda x: functional.linear(x, weight, bias)


class _Packed:
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        ops: Any = torch.ops.mkldnn
        self.weight = ops._reorder_linear_weight(weight.contiguous(), _TYPICAL_ROWS)
        self.bias = bias
        self.run = ops._linear_pointwise.default

    def __call__(self, x: Tensor) -> Tensor:
        return self.run(x, self.weight, self.bias, "none", [], "")


@lru_cache(maxsize=1)
def packing_is_exact() -> bool:
    """Whether torch has these kernels here and they compute in true float32; tested once per process."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 256, generator=generator) for n in (16, 128))
    exact = x.double() @ weight.double().T
    with torch.no_grad(), default_kernels():
        try:
            seen = _Packed(weight, None)(x)
        except (RuntimeError, NotImplementedError):
            return False
    return float((seen.double() - exact).abs().max() / exact.abs().max()) < _LARGEST_ERROR


@contextmanager
def default_kernels() -> Iterator[None]:
    """Context manager: torch's default float32 kernels, whatever training uses; attention needs them."""
    settings: Any = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]
    before = settings.fp32_precision
    settings.fp32_precision = "none"
    try:
        yield
    finally:
        settings.fp32_precision = before
