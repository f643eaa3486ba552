"""A server in this process, on a thread of its own, over real sockets."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import openai

from steersman.serve.app import create_app
from steersman.serve.models import ServedModels
from steersman.serve.options import ServeOptions
from steersman.serve.run import address_of, make_server, take_port

WEIGHTS_KEY = "the-key-for-the-weights"


@dataclass(frozen=True)
class Running:
    address: str
    app: Any

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.address}/v1", api_key="none", max_retries=0, timeout=120)

    @property
    def state(self) -> Any:
        return self.app.state.server


@contextmanager
def running(models: ServedModels, options: ServeOptions, **more: Any) -> Iterator[Running]:
    taken, ready = take_port(options.host, 0), threading.Event()
    app = create_app(models, options, **more)
    server = make_server(app, options, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    address = address_of(taken, options.host)
    thread.start()
    try:
        assert ready.wait(60)
        yield Running(address, app)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()
