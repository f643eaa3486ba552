"""A low-rank adapter (LoRA, arXiv 2106.09685) in a layer that computes as one step: y = x (W + s B A)^T, W frozen.

The sum is made anew for each pass, which costs a rank's share of the tokens' own products (2 % with rank 16 and 1,000 tokens), so
that there is one product a weight and not three. Backward, the base has no gradient, and those of A and B are thin:

    d B = s (d y)^T (x A^T),    d A = s (d y B)^T x
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

# What an adapter may stand on, as `fused_layer.Weights` calls it.
PRODUCTS = ("query", "key", "value", "output", "gate", "up", "down")


class Factors(NamedTuple):
    """A product's A [rank, in], B [out, rank] and what their product is scaled by."""

    a: Tensor
    b: Tensor
    scale: float


Adapter = Mapping[str, Factors]
"""By product; one without an adapter is left out."""


def factors_of(product: Any) -> Factors | None:
    """The active adapter of one of peft's linear layers, if it is an ordinary one; None for anything else."""
    if type(product).__module__ != "peft.tuners.lora.layer" or type(product).__name__ != "Linear":
        return None
    active = list(product.active_adapters)
    if product.merged or product.disable_adapters or len(active) != 1 or active[0] not in product.lora_A:
        return None
    name = active[0]
    a, b = product.lora_A[name], product.lora_B[name]
    ordinary = (
        all(type(part) is nn.Linear and part.bias is None and part.weight.dtype == torch.float32 for part in (a, b))
        and isinstance(product.lora_dropout[name], nn.Identity)
        and not getattr(product, "use_dora", {}).get(name, False)
        and name not in getattr(product, "lora_variant", {})
        and not getattr(product, "fan_in_fan_out", False)
    )
    return Factors(a.weight, b.weight, float(product.scaling[name])) if ordinary else None


def parts_of(product: Any) -> tuple[nn.Module, ...]:
    """What takes part in the pass of such a layer besides its base."""
    name = product.active_adapters[0]
    return product, product.lora_A[name], product.lora_B[name], product.lora_dropout[name]


def merged(weight: Tensor, factors: Factors | None) -> Tensor:
    return weight if factors is None else torch.addmm(weight, factors.b, factors.a, alpha=factors.scale)


def flat(adapter: Adapter | None) -> tuple[tuple[float | None, ...] | None, list[Tensor | None]]:
    """The scales, and A and B of all products in their order: what an autograd function can be given."""
    if adapter is None:
        return None, []
    each = [adapter.get(name) for name in PRODUCTS]
    tensors = [part for one in each for part in ((None, None) if one is None else (one.a, one.b))]
    return tuple(None if one is None else one.scale for one in each), tensors


def unflat(scales: tuple[float | None, ...] | None, tensors: tuple[Tensor | None, ...]) -> Adapter | None:
    if scales is None:
        return None
    pairs = zip(PRODUCTS, scales, tensors[::2], tensors[1::2], strict=True)
    return {name: Factors(cast(Tensor, a), cast(Tensor, b), scale) for name, scale, a, b in pairs if scale is not None}


class Learned:
    """The gradients that a layer's backward pass finds: of its own weights, or of the adapter that stands on them."""

    def __init__(self, adapter: Adapter | None) -> None:
        self.adapter = adapter
        self.own: dict[str, Tensor | None] = {}
        self.by_factor: dict[str, tuple[Tensor, Tensor]] = {}

    def product(
        self, name: str, by_result: Tensor, given: Tensor, arrange: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """Of a product given its input and the gradient by its result. `arrange` brings rows of B into the order (and scale) in which
        the result's columns stand here; the gradient of B comes back in that order, for `put_back` to undo."""
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
        """As the autograd function hands them back: weights by name, then A and B of every product if there is an adapter."""
        if self.adapter is None:
            return [self.own.get(name) for name in names]
        found: list[Tensor | None] = [None] * len(names)
        for name in PRODUCTS:
            found += self.by_factor.get(name, (None, None))
        return found
