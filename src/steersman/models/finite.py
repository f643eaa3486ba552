"""Refuses weights that were saved with NaN or infinity in them, when they are loaded."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from steersman.errors import NotFinite
from steersman.maths.finite import not_finite


def check_loaded(where: str | Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Raise NotFinite if weights loaded from `where` are not finite."""
    names = not_finite(tensors)
    if names:
        raise NotFinite(
            f"the weights in {str(where)!r} hold NaN or infinity ({len(names)} tensors, the first: {names[0]}), so its "
            "answers would be noise. Use another copy, or an earlier checkpoint of the run that made it"
        )
