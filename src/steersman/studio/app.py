"""The studio as an app: its routes, each behind a gate, over a store."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.routing import BaseRoute, Mount

from steersman.store.database import open_store
from steersman.store.people import secret_of
from steersman.studio import routes_judging, routes_labelling, routes_pages, routes_signing_in
from steersman.studio.access import Studio, gates_of, refuse_forgery
from steersman.studio.hardening import Hardened
from steersman.studio.limits import RateLimit
from steersman.studio.problems import install_problems
from steersman.studio.rendering import STATIC
from steersman.studio.settings import StudioSettings

ROUTERS = (routes_labelling.router, routes_signing_in.router, routes_pages.router, routes_judging.router)


def create_app(store_url: str | None = None, settings: StudioSettings | None = None) -> FastAPI:
    """The studio over the store at an address (default: as `steersman studio` has it), which is made if it is missing.
    A store of another release is an error."""
    settings = settings or StudioSettings()
    database = open_store(store_url, create=True)

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        yield
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
        database, settings, secret_of(database), RateLimit(*settings.requests), RateLimit(*settings.attempts)
    )
    app.add_middleware(Hardened, settings=settings)
    install_problems(app)
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    refuse_open_routes(app.routes)
    return app


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
