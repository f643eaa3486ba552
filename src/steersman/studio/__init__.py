"""The studio. `Client` is its client for scripts; it is loaded when it is first used."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steersman.studio.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    if name != "Client":
        raise AttributeError(f"module 'steersman.studio' has no attribute {name!r}")
    from steersman.studio.client import Client

    return Client
