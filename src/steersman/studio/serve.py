"""Starting the studio: where it may listen, and the server itself."""

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn

from steersman.errors import UsageError
from steersman.studio.app import create_app
from steersman.studio.links import first_link
from steersman.studio.settings import StudioSettings

GRACE = 5
"""Seconds that requests have to end when the studio is stopped."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How browsers reach the studio. `certificate` and `key` are files, for https by the studio itself. `proxy`: a
    server on this machine speaks https for it. `plain`: other machines may reach it unencrypted."""

    certificate: Path | None = None
    key: Path | None = None
    proxy: bool = False
    plain: bool = False

    @property
    def encrypted(self) -> bool:
        return self.proxy or self.certificate is not None


@dataclass(frozen=True, slots=True)
class Ready:
    """What is told once the studio listens. `link` makes its first reader the admin; "" where there is one already."""

    url: str
    link: str


def refuse_open_address(host: str, serving: Serving) -> None:
    """Raise where passwords and labels would cross a network unencrypted without anybody having asked for it."""
    if (serving.certificate is None) != (serving.key is None):
        raise UsageError("--certificate and --key belong together; give both, or neither")
    for path in (serving.certificate, serving.key):
        if path is not None and not path.is_file():
            raise UsageError(f"there is no file {path}")
    if serving.certificate is None and not serving.plain and not is_loopback(host):
        raise UsageError(
            f"{host} can be reached from other machines, and without TLS they would send passwords in the clear. Give "
            "--certificate and --key; or leave --host out, with a reverse proxy on this machine that speaks https "
            "(--proxy); or, in a network that you trust, add --allow-plain-http"
        )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens at the address. One that is taken is an error."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(256)
    except OSError as error:
        found.close()
        raise UsageError(
            f"the studio cannot listen at {host}, port {port} ({error.strerror}); give another one with --port, or "
            "stop what listens there"
        ) from error
    return found


def serve(store: str | None, settings: StudioSettings, serving: Serving, ready: Callable[[Ready], None]) -> None:
    """Serve the studio until it is stopped (Ctrl-C, SIGTERM). `ready` is called when it listens."""
    refuse_open_address(settings.host, serving)
    with open_socket(settings.host, settings.port) as listening:
        port = listening.getsockname()[1]
        settings = replace(settings, port=port, encrypted=serving.encrypted)
        app = create_app(store, settings)
        url = settings.address if not serving.proxy else f"https://{settings.hosts[0]}"
        secret = first_link(app.state.studio.database)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # it would keep addresses of people, and the secrets of links
            server_header=False,
            proxy_headers=serving.proxy,
            forwarded_allow_ips="127.0.0.1,::1" if serving.proxy else "",
            timeout_graceful_shutdown=GRACE,
            ssl_certfile=serving.certificate,
            ssl_keyfile=serving.key,
            lifespan="on",
        )
        ready(Ready(url, f"{url}/join/{secret}" if secret else ""))
        uvicorn.Server(config).run(sockets=[listening])
