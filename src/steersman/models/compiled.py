"""A model's layers compiled by torch, for a GPU: what stands between the products becomes a few kernels, forward and backward.

Layer by layer and not the model at once: all layers are alike, so that one is compiled and the others use what was made for it. Lengths
and numbers of rows are variables of the compiled code. A processor has no need of it: its layers compute as one step already
(fused.py).
"""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from steersman.models.backbone import Backbone, layers_of

# Ways in which one layer's code may be asked for: learning or not, with an adapter or without, by each role.
_VARIANTS = 64


def compile_layers(modules: Iterable[nn.Module], *, backend: str | Callable[..., Any] = "inductor") -> int:
    """Let the layers of every model among these and their parts be compiled when they are first used; how many there are."""
    import torch._dynamo.config as limits

    limits.recompile_limit = max(limits.recompile_limit, _VARIANTS)
    backbones = {id(part): part for module in modules for part in module.modules() if isinstance(part, Backbone)}
    layers = [layer for backbone in backbones.values() for layer in layers_of(backbone)]
    for layer in layers:
        # What checkpoints a layer stands in its forward and must stay outside; then its parts are compiled.
        parts = list(layer.children()) if getattr(layer, "gradient_checkpointing", False) else [layer]
        for part in parts:
            part.compile(dynamic=True, backend=backend)
    return len(layers)
