"""LoRA (arXiv 2106.09685) in a fused layer: y = x (W + s B A)^T, with W frozen.

The sum is recomputed in each pass, so that there is one product per weight instead of three. It costs rank / tokens of
the tokens' own products (2 % with rank 16 and 1,000 tokens). W gets no gradient; those of A and B are low-rank
products:

    d B = s (d y)^T (x A^T),    d A = s (d y B)^T x
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

# The linear layers that may have an adapter, named as in `fused_layer.Weights`.
PRODUCTS = ("query", "key", "value", "output", "gate", "up", "down")


class Factors(NamedTuple):
    """LoRA factors of one linear layer: A [rank, in], B [out, rank] and the scale of their product."""

    a: Tensor
    b: Tensor
    scale: float


Adapter = Mapping[str, Factors]
"""Factors by linear layer; layers without an adapter are left out."""


def factors_of(product: Any) -> Factors | None:
    """The active adapter of a peft linear layer, if it is plain LoRA; None for anything else."""
    if type(product).__module__ != "peft.tuners.lora.layer" or type(product).__name__ != "Linear":
        return None
    active = list(product.active_adapters)
    if product.merged or product.disable_adapters or len(active) != 1 or active[0] not in product.lora_A:
        return None
    name = active[0]
    a, b = product.lora_A[name], product.lora_B[name]
    plain = (
        all(type(part) is nn.Linear and part.bias is None and part.weight.dtype == torch.float32 for part in (a, b))
        and isinstance(product.lora_dropout[name], nn.Identity)
        and not getattr(product, "use_dora", {}).get(name, False)
        and name not in getattr(product, "lora_variant", {})
        and not getattr(product, "fan_in_fan_out", False)
    )
    return Factors(a.weight, b.weight, float(product.scaling[name])) if plain else None


def parts_of(product: Any) -> tuple[nn.Module, ...]:
    """The modules that run in the forward pass of a layer with an adapter, besides its base layer."""
    name = product.active_adapters[0]
    return product, product.lora_A[name], product.lora_B[name], product.lora_dropout[name]


def merged(weight: Tensor, factors: Factors | None) -> Tensor:
    return weight if factors is None else torch.addmm(weight, factors.b, factors.a, alpha=factors.scale)


def flatten_factors(adapter: Adapter | None) -> tuple[tuple[float | None, ...] | None, list[Tensor | None]]:
    """The scales, and A and B of all linear layers in the order of PRODUCTS: arguments of an autograd function."""
    if adapter is None:
        return None, []
    each = [adapter.get(name) for name in PRODUCTS]
    tensors = [part for lora in each for part in ((None, None) if lora is None else (lora.a, lora.b))]
    return tuple(None if lora is None else lora.scale for lora in each), tensors


def unflatten_factors(scales: tuple[float | None, ...] | None, tensors: tuple[Tensor | None, ...]) -> Adapter | None:
    if scales is None:
        return None
    pairs = zip(PRODUCTS, scales, tensors[::2], tensors[1::2], strict=True)
    return {name: Factors(cast(Tensor, a), cast(Tensor, b), scale) for name, scale, a, b in pairs if scale is not None}


class LayerGradients:
    """Gradients from a layer's backward pass: of its own weights, or of the adapter on them."""

    def __init__(self, adapter: Adapter | None) -> None:
        self.adapter = adapter
        self.own: dict[str, Tensor | None] = {}
        self.by_factor: dict[str, tuple[Tensor, Tensor]] = {}

    def product(
        self, name: str, by_result: Tensor, given: Tensor, arrange: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """Add the gradients of one linear layer from its input and the gradient of its output.

        `arrange` brings the rows of B into the order (and scale) of the output's columns. The gradient of B is then in
        that order too, until `put_back` undoes it.
        """
        if self.adapter is None:
            self.own[name] = by_result.T @ given
            return
        factors = self.adapter.get(name)
        if factors is None:
            return
        b = factors.b if arrange is None else arrange(factors.b)
        by_a = (by_result @ b).mul_(factors.scale).T @ given
        by_b = (by_result.T @ (given @ factors.a.T)).mul_(factors.scale)
        self.by_factor[name] = (by_a, by_b)

    def put_back(self, name: str, disarrange: Callable[[Tensor], Tensor]) -> None:
        if name in self.by_factor:
            by_a, by_b = self.by_factor[name]
            self.by_factor[name] = (by_a, disarrange(by_b))

    def in_order(self, names: tuple[str, ...]) -> list[Tensor | None]:
        """In the order of the autograd function's arguments: weights by name, then A and B per layer of an adapter."""
        if self.adapter is None:
            return [self.own.get(name) for name in names]
        ordered: list[Tensor | None] = [None] * len(names)
        for name in PRODUCTS:
            ordered += self.by_factor.get(name, (None, None))
        return ordered
