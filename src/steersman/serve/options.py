"""What a server allows: where it listens, who may ask, and how much at once."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from steersman.errors import UsageError

SHORTEST_KEY = 16
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Sizes in bytes, times in seconds.

    `waiting` is the number of answers that may wait for a row, beyond those that are generated; `body_time` is what a
    request's body may take to arrive, `answer_time` the whole answer, `grace` what running answers get at the end.
    `weights_key` None means that the routes for rollouts and weights are off.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = ()
    weights_key: str | None = None
    host_names: tuple[str, ...] = ()
    max_body: int = 4 * 2**20
    max_weights: int = 64 * 2**30
    waiting: int = 256
    body_time: float = 60.0
    answer_time: float = 600.0
    grace: float = 30.0

    def __post_init__(self) -> None:
        if not self.loopback and not self.api_keys:
            raise UsageError(
                f"--host {self.host} can be reached by others, and there are no API keys; give --api-keys FILE, with a "
                "key on each line, or leave the host at 127.0.0.1"
            )
        if self.weights_key is not None and self.weights_key in self.api_keys:
            raise UsageError(
                "the key for weights is one of the API keys, so everybody who may ask could also change the model; "
                "give it a key of its own"
            )

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def names(self) -> frozenset[str]:
        """The names in a Host header that this server answers to; none: any. Behind keys every name will do."""
        if self.api_keys:
            return frozenset()
        return LOCAL_NAMES | {_as_in_header(self.host)} | {name.lower() for name in self.host_names}


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _as_in_header(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()


def read_keys(path: Path) -> tuple[str, ...]:
    """The keys in a file: one on each line; empty lines and those that begin with # do not count."""
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the file of keys {path} cannot be read: {error}") from error
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for number, key in enumerate(keys, 1):
        if len(key) < SHORTEST_KEY or not (key.isascii() and key.isprintable()) or " " in key:
            raise UsageError(
                f"key {number} in {path} is no usable key; expected {SHORTEST_KEY} letters or more, ASCII, without "
                "spaces. python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
            )
    if not keys:
        raise UsageError(f"the file of keys {path} holds no key; expected one on each line")
    return tuple(keys)
