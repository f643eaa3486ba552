"""Which adapter a model runs through at the moment."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from steersman.errors import ModelError
from steersman.models.backbone import Backbone


def adapter_names(backbone: Backbone) -> tuple[str, ...]:
    return () if backbone.peft is None else tuple(backbone.peft.peft_config)


def active_adapter(backbone: Backbone) -> str | None:
    """The adapter that takes part in the forward pass; None if it is the base alone."""
    return backbone.adapter


def activate(backbone: Backbone, name: str | None) -> None:
    """From now on run through this adapter; None is the base alone, the reference."""
    _check(backbone, [] if name is None else [name])
    _switch(backbone, name)


@contextmanager
def acting_as(backbone: Backbone, name: str | None) -> Iterator[Backbone]:
    """Run through this adapter (None: the base, the reference) until the end of the block."""
    before = backbone.adapter
    activate(backbone, name)
    try:
        yield backbone
    finally:
        _switch(backbone, before)


def _check(backbone: Backbone, names: Iterable[str]) -> None:
    unknown = [name for name in names if name not in adapter_names(backbone)]
    if unknown:
        there = ", ".join(adapter_names(backbone)) or "none"
        raise ModelError(
            f"there is no adapter {unknown[0]!r} on {backbone.name!r} (there: {there}); add or load it first"
        )


def _switch(backbone: Backbone, name: str | None) -> None:
    if backbone.adapter == name:
        return
    for layer in backbone.adapted:
        layer._disable_adapters = name is None
        if name is not None:
            layer._active_adapter = [name]
    backbone.adapter = name
