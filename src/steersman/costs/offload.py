"""What an iteration of PPO takes at its widest, where some of it lies in the processor's memory while it is not needed."""

from collections.abc import Collection, Mapping

from steersman.costs.memory import Bytes, Number

NEEDED = {
    "reference": ("read",),
    "scorer": ("judge",),
    "critic": ("read", "update"),
    "optimiser": ("update",),
}
"""The stages (collect, judge, read, update) in which each thing that may be parked is on the device."""


def widest(stages: Mapping[str, Bytes], movable: Mapping[str, Bytes], parked: Collection[str]) -> Bytes:
    """The memory on the device in the stage that takes most. `stages` is what each takes besides `movable`, which is there always but
    for what is `parked`."""

    def at(stage: str) -> Bytes:
        there = (size for name, size in movable.items() if name not in parked or stage in NEEDED[name])
        return sum(there, start=stages[stage])

    return max((at(stage) for stage in stages), key=lambda found: found.total)


def parked_bytes(movable: Mapping[str, Bytes], parked: Collection[str]) -> Number:
    """What the processor's memory holds: all that is parked has its place there, also while it is on the device."""
    return sum(size.total for name, size in movable.items() if name in parked)
