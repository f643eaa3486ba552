"""The server as an app: its models, its worker, and its routes behind the guard."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from steersman.serve import routes_health, routes_openai, routes_rollouts, routes_scoring
from steersman.serve.answering import OpenAnswers
from steersman.serve.guard import Guard
from steersman.serve.metrics import ServeMetrics
from steersman.serve.models import ServedModels
from steersman.serve.options import ServeOptions
from steersman.serve.problems import install_problems
from steersman.serve.state import ServerState
from steersman.serve.weights import WeightUpdates
from steersman.serve.worker import Listener, Worker


def create_app(models: ServedModels, options: ServeOptions, *, weights_folder: Path | None = None) -> FastAPI:
    loop: asyncio.AbstractEventLoop | None = None

    def tell_all(listeners: list[Listener]) -> None:
        for listener in listeners:
            listener()

    def deliver(listeners: list[Listener]) -> None:
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(tell_all, listeners)

    worker = Worker([language.live for language in models.languages.values()], deliver)
    metrics = ServeMetrics()
    only = next(iter(models.languages.values())) if len(models.languages) == 1 else None
    state = ServerState(
        models,
        options,
        worker,
        OpenAnswers(worker, options, metrics),
        metrics,
        None if only is None else WeightUpdates(only.engine),
        weights_folder,
    )

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        nonlocal loop
        loop = asyncio.get_running_loop()
        worker.start()
        yield
        app.state.stopping = True
        await asyncio.to_thread(worker.stop)
        state.close()

    app = FastAPI(title="Steersman", lifespan=running, docs_url=None, redoc_url=None)
    app.state.server, app.state.stopping = state, False
    app.add_middleware(Guard, options=options)
    install_problems(app)
    for routes in (routes_health, routes_openai, routes_scoring, routes_rollouts):
        app.include_router(routes.router)
    return app
