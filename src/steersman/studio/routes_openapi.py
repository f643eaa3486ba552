"""The description of the API (OpenAPI), for whoever is signed in or has a token."""

from typing import Any

from fastapi import APIRouter, Request

from steersman.studio.access import ReadsStudio

router = APIRouter(include_in_schema=False)


@router.get("/api/openapi.json")
def openapi(_: ReadsStudio, request: Request) -> dict[str, Any]:
    return request.app.openapi()
