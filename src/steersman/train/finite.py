"""Refuses weights and moments that cannot be used, before they are written.

A model with NaN in it is saved, loads and answers without an error.
"""

import math
from collections.abc import Mapping

from torch import Tensor, nn

from steersman.errors import NotFinite
from steersman.maths.finite import LARGEST_WEIGHT, not_finite
from steersman.parallel.shard import own_part


def bad_weights(model: nn.Module) -> list[str]:
    """The names of a model's parameters and persistent buffers that cannot be used as weights.

    Of sharded ones, only this rank's part is read.
    """
    persistent = set(model.state_dict().keys())
    buffers = ((name, buffer) for name, buffer in model.named_buffers() if name in persistent)
    tensors = [*model.named_parameters(), *buffers]
    return not_finite(((name, own_part(tensor)) for name, tensor in tensors), bound=LARGEST_WEIGHT)


def check_written(what: str, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
    """Raise NotFinite if these tensors, which are to be written as `what`, cannot be used."""
    refuse(what, "weights", not_finite(weights.items(), bound=LARGEST_WEIGHT))
    refuse(what, "optimiser's moments", not_finite(moments.items()))


def check_result(name: str, value: float | None, skipped: int) -> None:
    """Raise NotFinite if training ended without a finite number for its final weights.

    `value` is their held-out measurement, called `name`; `skipped` counts the last steps without a finite loss.
    """
    if value is None and not skipped:
        return
    if value is None or not math.isfinite(value):
        seen = f"the last {skipped} steps had no finite loss" if value is None else f"their held-out {name} is {value}"
        raise NotFinite(
            f"the final weights are not saved as the model: {seen}. The checkpoints are unchanged. Lower "
            "optimiser.learning_rate, or find the rows that cause it, and choose another run.out."
        )


def refuse(what: str, kind: str, names: list[str]) -> None:
    """Raise NotFinite because these tensors of `what` cannot be used; do nothing if there are none."""
    if names:
        raise NotFinite(
            f"{what} is not written: its {kind} hold NaN, infinity or numbers that overflow ({len(names)} tensors, "
            f"the first: {names[0]}). Earlier checkpoints are unchanged. Lower optimiser.learning_rate or "
            "optimiser.max_grad_norm, and choose another run.out."
        )
