"""Runs the server: takes its port before any model is loaded, says how it is reached, and stops in good order."""

import errno
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from sse_starlette.sse import AppStatus

from steersman.errors import UsageError
from steersman.serve.models import ServedModels
from steersman.serve.options import ServeOptions, is_loopback

BACKLOG = 2048


def take_port(host: str, port: int) -> socket.socket:
    """A socket that listens there already: nobody else can take the port while models are loaded."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(
            f"--host {host} is no address of this machine ({error}); expected one such as 127.0.0.1"
        ) from error
    taken = socket.socket(family, kind)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(address)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} of {host} is in use by another program; choose another with --port, or 0 for any free one"
            ) from error
        raise UsageError(f"port {port} of {host} cannot be taken ({error}); choose another with --port") from error
    return taken


def address_of(taken: socket.socket, host: str) -> str:
    port = taken.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


def how_to_reach(models: ServedModels, address: str, options: ServeOptions) -> list[str]:
    """Where other programs reach this server, and the settings by which a judge or a scorer of ours does."""
    keyed = bool(options.api_keys)
    host = options.host
    lines: list[str] = []
    for name in models.languages:
        lines += [f"{name} answers at {address}/v1 (OpenAI's API)"]
        token = "judge.endpoint.token_env=STEERSMAN_KEY " if keyed else ""
        lines += [f"  as a judge: judge.model={address}/v1#{name} {token}{_allow('judge.endpoint', host)}".rstrip()]
    for name in models.scorers:
        lines += [f"{name} scores at {address}/classify (vLLM's API)"]
        token = "scorer.http.token_env=STEERSMAN_KEY " if keyed else ""
        lines += [f"  as a scorer: --scorer {address}/classify#{name} {token}{_allow('scorer.http', host)}".rstrip()]
    if keyed:
        lines += ["  with one of the API keys in the environment variable STEERSMAN_KEY"]
    return lines


def _allow(group: str, host: str) -> str:
    address = "127.0.0.1" if host == "localhost" else host
    return f"""'{group}.allow=["{address}"]'""" if is_loopback(host) else f"""'{group}.allow=[ADDRESS]'"""


class _Server(uvicorn.Server):
    """Ends with code 0 after a signal, when what was running has been answered."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._app, self._ready = app, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._app.state.stopping = True
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        with super().capture_signals():
            yield
            # uvicorn would raise them again, and the process would end by the signal
            self._captured_signals.clear()


def make_server(app: FastAPI, options: ServeOptions, ready: Callable[[], None]) -> uvicorn.Server:
    # streams, too, are to end by themselves
    AppStatus.disable_automatic_graceful_drain()
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(options.grace)),
        backlog=BACKLOG,
        lifespan="on",
        ws="none",
    )
    return _Server(config, app, ready)


def serve(app: FastAPI, taken: socket.socket, options: ServeOptions, ready: Callable[[], None]) -> None:
    """Answer until a signal comes. Then running answers get `options.grace` seconds to end."""
    make_server(app, options, ready).run(sockets=[taken])
