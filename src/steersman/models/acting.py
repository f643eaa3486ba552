"""Which LoRA adapter of a model is active."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

from steersman.errors import ModelError


@runtime_checkable
class Adapted(Protocol):
    """The attributes of a backbone that concern adapters (see `models.backbone.Backbone`)."""

    peft: Any
    adapter: str | None
    adapted: list[Any]

    @property
    def name(self) -> str: ...


AdaptedT = TypeVar("AdaptedT", bound=Adapted)


def adapter_names(backbone: Adapted) -> tuple[str, ...]:
    return () if backbone.peft is None else tuple(backbone.peft.peft_config)


def activate(backbone: Adapted, name: str | None) -> None:
    """Make this adapter active from now on; None is the base model alone (the reference)."""
    check_adapters(backbone, [] if name is None else [name])
    switch_adapter(backbone, name)


@contextmanager
def acting_as(backbone: AdaptedT, name: str | None) -> Iterator[AdaptedT]:
    """Context manager: inside the block this adapter is active (None: the base model alone, the reference)."""
    before = backbone.adapter
    activate(backbone, name)
    try:
        yield backbone
    finally:
        switch_adapter(backbone, before)


def check_adapters(backbone: Adapted, names: Iterable[str]) -> None:
    unknown = [name for name in names if name not in adapter_names(backbone)]
    if unknown:
        present = ", ".join(adapter_names(backbone)) or "none"
        raise ModelError(
            f"there is no adapter {unknown[0]!r} on {backbone.name!r} (present: {present}); add or load it first"
        )


def switch_adapter(backbone: Adapted, name: str | None) -> None:
    if backbone.adapter == name:
        return
    for layer in backbone.adapted:
        layer._disable_adapters = name is None
        if name is not None:
            layer._active_adapter = [name]
    backbone.adapter = name
