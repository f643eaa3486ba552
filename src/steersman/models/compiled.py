"""torch.compile for a model's layers, on a GPU: everything between the matrix products becomes a few kernels.

Each layer is compiled by itself, not the whole model: the layers are alike, so the code compiled for one serves all.
Lengths and batch sizes are dynamic. A CPU does not need it: its layers are fused already (fused.py).
"""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from steersman.models.backbone import Backbone, layers_of

# Variants of one layer's compiled code: with gradients or without, with an adapter or without, for each role.
_VARIANTS = 64


def compile_layers(modules: Iterable[nn.Module], *, backend: str | Callable[..., Any] = "inductor") -> int:
    """Compile the layers of every backbone in these modules at their first use; returns the number of layers."""
    import torch._dynamo.config as limits

    limits.recompile_limit = max(limits.recompile_limit, _VARIANTS)
    backbones = {id(part): part for module in modules for part in module.modules() if isinstance(part, Backbone)}
    layers = [layer for backbone in backbones.values() for layer in layers_of(backbone)]
    for layer in layers:
        # Gradient checkpointing happens in a layer's forward and must stay outside: then the submodules are compiled.
        parts = list(layer.children()) if getattr(layer, "gradient_checkpointing", False) else [layer]
        for part in parts:
            part.compile(dynamic=True, backend=backend)
    return len(layers)
