"""How a studio is served. Every default is safe on a machine that others can reach."""

from dataclasses import dataclass
from pathlib import Path

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class StudioSettings:
    """What the server is told.

    `hosts` are the names under which browsers reach it, besides those of this machine. `encrypted`: browsers reach
    it by https, so cookies are sent so only. A session ends after `idle` seconds without a request, and `life`
    seconds after it began. `allowed` are private addresses that webhooks and responders may reach. `runs` are
    folders of runs: they are shown, and models that were trained on a person's labels are looked for in them.
    `requests` and `attempts` are rates: so many at once, then so many each second; of a person's requests, and of
    attempts to sign in from one address. `responder` is the model (URL#NAME) that people write to in red-teaming where
    a project names none, and `responder_token` the key that is sent to it.
    """

    host: str = "127.0.0.1"
    port: int = 8400
    hosts: tuple[str, ...] = ()
    encrypted: bool = False
    idle: float = 3 * DAY
    life: float = 30 * DAY
    lease: float = 30 * MINUTE
    requests: tuple[int, float] = (300, 60.0)
    attempts: tuple[int, float] = (10, 0.1)
    max_body: int = 4 * 2**20
    max_upload: int = 256 * 2**20
    webhooks: bool = False
    allowed: tuple[str, ...] = ()
    runs: tuple[Path, ...] = (Path("runs"),)
    responder: str = ""
    responder_token: str | None = None

    @property
    def names(self) -> frozenset[str]:
        """The hosts that a request may name."""
        return frozenset(name.lower() for name in (*LOOPBACK, *self.hosts))

    @property
    def address(self) -> str:
        """The URL that a person on this machine opens."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        shown = self.hosts[0] if self.hosts else f"[{host}]" if ":" in host else host
        return f"{'https' if self.encrypted else 'http'}://{shown}:{self.port}"
