"""Refuses weights that were saved with NaN or infinity in them, when they are loaded."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from steersman.errors import NotFinite
from steersman.maths.finite import LARGEST_WEIGHT, not_finite


def check_loaded(where: str | Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Raise NotFinite if weights loaded from `where` cannot be used."""
    names = not_finite(tensors, bound=LARGEST_WEIGHT)
    if names:
        raise NotFinite(
            f"the weights in {str(where)!r} hold NaN, infinity or numbers that overflow ({len(names)} tensors, the "
            f"first: {names[0]}), so its answers would be noise. Use another copy, or an earlier checkpoint of the run "
            "that made it"
        )
