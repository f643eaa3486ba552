"""Peak device memory of a PPO iteration with offloading to CPU memory."""

from collections.abc import Collection, Mapping

from steersman.costs.memory import Bytes, Number

NEEDED = {
    "reference": ("read",),
    "scorer": ("judge",),
    "critic": ("read", "update"),
    "optimiser": ("update",),
}
"""The stages (collect, judge, read, update) in which each offloadable part must be on the device."""


def widest(stages: Mapping[str, Bytes], movable: Mapping[str, Bytes], offloaded: Collection[str]) -> Bytes:
    """Device memory in the stage that needs most. `stages` has each stage's memory without `movable`. A part of
    `movable` is always on the device, or, if it is `offloaded`, in the stages that need it."""

    def at(stage: str) -> Bytes:
        on_device = (size for name, size in movable.items() if name not in offloaded or stage in NEEDED[name])
        return sum(on_device, start=stages[stage])

    return max((at(stage) for stage in stages), key=lambda memory: memory.total)


def offloaded_bytes(movable: Mapping[str, Bytes], offloaded: Collection[str]) -> Number:
    """CPU memory for the offloaded parts. It stays allocated while they are on the device."""
    return sum(size.total for name, size in movable.items() if name in offloaded)
