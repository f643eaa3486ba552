"""The studio as an app: its routes, each behind a gate, over a store."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.routing import BaseRoute, Mount

from steersman.store.database import Database, open_store
from steersman.store.entry import forget_old
from steersman.store.people import secret_of
from steersman.studio import (
    routes_administration,
    routes_events,
    routes_gold,
    routes_judging,
    routes_labelling,
    routes_openapi,
    routes_pages,
    routes_people,
    routes_practice,
    routes_projects,
    routes_quality,
    routes_quality_pages,
    routes_red_team,
    routes_running,
    routes_sessions,
    routes_signing_in,
    routes_tasks,
    routes_webhooks,
)
from steersman.studio.access import Studio, gates_of, refuse_forgery
from steersman.studio.hardening import Hardened
from steersman.studio.limits import RateLimit
from steersman.studio.observatory import routes as routes_observatory
from steersman.studio.observatory import routes_live
from steersman.studio.observatory.folders import RunFolders
from steersman.studio.problems import install_problems
from steersman.studio.quality_kept import QualityKept
from steersman.studio.rendering import STATIC
from steersman.studio.responder import Responses
from steersman.studio.settings import StudioSettings
from steersman.studio.uploads import Uploads
from steersman.studio.webhooks import WebhookSender

ROUTERS = (
    routes_administration.router,
    routes_events.router,
    routes_gold.router,
    routes_judging.router,
    routes_labelling.router,
    routes_live.router,
    routes_observatory.router,
    routes_openapi.router,
    routes_pages.router,
    routes_people.router,
    routes_practice.router,
    routes_projects.router,
    routes_running.router,
    routes_sessions.router,
    routes_quality.router,
    routes_quality_pages.router,
    routes_red_team.router,
    routes_signing_in.router,
    routes_tasks.router,
    routes_webhooks.router,
)


def create_app(store_url: str | None = None, settings: StudioSettings | None = None) -> FastAPI:
    """The studio over the store at an address (default: as `steersman studio` has it), which is made if it is missing.
    A store of another release is an error."""
    settings = settings or StudioSettings()
    database, uploads = open_store(store_url, create=True), Uploads()
    responses = Responses()

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        forget_ended(database, settings)
        sender = WebhookSender(database, settings) if settings.webhooks else None
        if sender is not None:
            sender.start()
        yield
        if sender is not None:
            sender.close()
        responses.close()
        uploads.close()
        database.close()

    app = FastAPI(
        title="Steersman studio",
        lifespan=running,
        dependencies=[Depends(refuse_forgery)],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.studio = Studio(
        database,
        settings,
        secret_of(database),
        RateLimit(*settings.requests),
        RateLimit(*settings.attempts),
        RunFolders(settings.runs),
    )
    app.state.uploads, app.state.quality, app.state.responses = uploads, QualityKept(), responses
    app.add_middleware(Hardened, settings=settings)
    install_problems(app)
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    refuse_open_routes(app.routes)
    return app


def forget_ended(database: Database, settings: StudioSettings) -> None:
    with database.write() as connection:
        forget_old(connection, idle=settings.idle, life=settings.life)


def all_routes(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """All routes, also those of included routers."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from all_routes(inner.routes)
        else:
            yield route


def refuse_open_routes(routes: Iterable[BaseRoute]) -> None:
    """Raise unless each route says who may use it. Files of the package are for everybody."""
    for route in all_routes(routes):
        if isinstance(route, Mount) and route.path == "/static":
            continue
        found = gates_of(route) if isinstance(route, APIRoute) else []
        if len(found) != 1:
            raise AssertionError(f"{getattr(route, 'path', route)} has {len(found)} gates; expected one (`access`)")
