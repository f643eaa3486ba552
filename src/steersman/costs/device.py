"""The device that a plan is for, which need not be in this machine."""

from dataclasses import dataclass
from typing import Literal

from steersman.costs.memory import FLOAT, Number
from steersman.costs.shape import Shape

HALF = 2
# The CUDA context and the libraries' workspaces: 0.3 to 0.6 GB, by GPU and driver. Not measured here.
CUDA_CONTEXT = 0.5e9
# The largest number of tokens in one prefill on a GPU (see `rollout.generation`).
PREFILL = 4096
Kind = Literal["cpu", "cuda", "mps"]


@dataclass(frozen=True, slots=True)
class PlannedDevice:
    """`memory` is what may be used there. With `bf16` it computes and samples in bf16."""

    kind: Kind
    memory: Number
    bf16: bool

    @property
    def is_gpu(self) -> bool:
        return self.kind == "cuda"

    @property
    def sampled(self) -> int:
        """Bytes of a number in the decoder's copy of the weights and in the KV cache."""
        return HALF if self.is_gpu and self.bf16 else FLOAT

    @property
    def context(self) -> Number:
        return CUDA_CONTEXT if self.is_gpu else 0

    def casts(self, trained: int) -> Number:
        """The bf16 copies of trained float32 weights that autocast keeps for the backward pass."""
        return HALF * trained if self.bf16 else 0

    def decoder(self, shape: Shape) -> Number:
        """The fast decoder's own copy of the weights. A GPU has the embedding beside the output layer: its gain is
        multiplied into that."""
        return self.sampled * (shape.matrices + (2 if self.is_gpu else 1) * shape.embedding)
