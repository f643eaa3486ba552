"""/health, /metrics and /version."""

from importlib.metadata import version as installed
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from steersman.serve.problems import ApiError
from steersman.serve.state import ServerState, state_of

router = APIRouter()
Server = Annotated[ServerState, Depends(state_of)]


@router.get("/health")
@router.get("/ping")
async def health(server: Server) -> dict[str, Any]:
    if not server.worker.healthy:
        raise ApiError(503, "the thread that computes has ended", code="unhealthy")
    return {"status": "ok"}


@router.get("/version")
async def show_version() -> dict[str, Any]:
    return {"version": installed("steersman"), "name": "steersman"}


@router.get("/metrics")
async def metrics(server: Server) -> Response:
    for name, language in server.models.languages.items():
        server.metrics.rows.labels(name).set(language.live.running)
        server.metrics.version.labels(name).set(language.engine.version)
    server.metrics.failures.set(server.worker.failures)
    return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
