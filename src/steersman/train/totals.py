"""Sums over the micro-batches of a step. Those on a GPU stay there until all are read in one transfer."""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from steersman.train.objective import Sums


class Totals:
    """Named sums. Numbers are added in double precision on the CPU, whatever the device that computed them."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {"real tokens": 0.0, "padded tokens": 0.0}
        # (name, factor, a number on the device)
        self._unread: list[tuple[str, float, Tensor]] = []

    def add(self, name: str, value: float | Tensor, factor: float = 1.0) -> None:
        if isinstance(value, Tensor):
            self._unread.append((name, factor, value.detach()))
        else:
            self._known[name] = self._known.get(name, 0.0) + factor * value

    def add_sums(self, sums: Sums, factor: float) -> None:
        for name, term in sums.terms.items():
            self.add(f"term {name}", term.total, factor)
            self._known[f"coefficient {name}"] = term.coefficient
        for name, (total, weight) in sums.metrics.items():
            self.add(f"sum {name}", total, factor)
            self.add(f"weight {name}", weight, factor)

    @property
    def terms(self) -> list[Tensor]:
        """The terms' sums of each micro-batch that are not read yet."""
        return [value for name, _, value in self._unread if name.startswith("term ")]

    def read(self, *more: Tensor) -> tuple[dict[str, float], list[float]]:
        """All sums, and some more numbers of the same device, in one transfer."""
        tensors = [value for _, _, value in self._unread] + list(more)
        numbers = _read(tensors)
        known = dict(self._known)
        for (name, factor, _), number in zip(self._unread, numbers, strict=False):
            known[name] = known.get(name, 0.0) + factor * number
        return known, numbers[len(self._unread) :]


def _read(tensors: Sequence[Tensor]) -> list[float]:
    if not tensors:
        return []
    kinds = {tensor.dtype for tensor in tensors} | {torch.float32}
    kind = torch.float64 if torch.float64 in kinds else torch.float32
    return cast(list[float], torch.stack([tensor.to(kind) for tensor in tensors]).tolist())


def term_means(totals: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """Each term's mean; a term of weight 0 (no data for it) is left out."""
    return {name: totals[f"term {name}"] / weight for name, weight in weights.items() if weight > 0}


def metric_means(totals: Mapping[str, float]) -> dict[str, float]:
    names = [name.removeprefix("sum ") for name in totals if name.startswith("sum ")]
    return {name: totals[f"sum {name}"] / max(totals[f"weight {name}"], 1e-12) for name in names}
