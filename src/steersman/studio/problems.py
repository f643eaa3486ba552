"""What went wrong with a request: as JSON for programs, as a page for people. Messages say what to do."""

import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from steersman.errors import DataError, ServiceError, SteersmanError, UsageError
from steersman.studio.rendering import page

log = logging.getLogger("steersman.studio")

STATUS: tuple[tuple[type[SteersmanError], int, str], ...] = (
    (UsageError, 400, "refused"),
    (DataError, 422, "invalid"),
    (ServiceError, 503, "try_again"),
)
TITLES = {401: "Please sign in", 403: "Not allowed", 404: "Nothing here", 429: "Too many requests", 503: "Try again"}


class Problem(Exception):  # noqa: N818
    """A request that is refused, with its HTTP status and a word for programs."""

    def __init__(self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


def not_signed_in() -> Problem:
    return Problem(401, "sign_in", "sign in first", headers={"WWW-Authenticate": "Bearer"})


def nothing_here(what: str = "nothing here, or you may not see it") -> Problem:
    return Problem(404, "not_found", what)


def problem_of(error: SteersmanError) -> Problem:
    status, code = next(((status, code) for kind, status, code in STATUS if isinstance(error, kind)), (500, "fault"))
    return Problem(status, code, str(error), headers={"Retry-After": "1"} if status == 503 else None)


def install_problems(app: FastAPI) -> None:
    """Let the app answer every error in one form."""
    app.add_exception_handler(Problem, _of_ours)
    app.add_exception_handler(SteersmanError, _of_steersman)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _of_http)


def body_of(problem: Problem) -> dict[str, Any]:
    return {"error": {"code": problem.code, "message": problem.message}}


def reply(request: Request, problem: Problem) -> Response:
    """The problem as JSON; for a page, as a page, or as the way to sign in."""
    if for_programs(request.url.path):
        return JSONResponse(body_of(problem), problem.status, problem.headers)
    if problem.status == 401:
        there = request.url.path if request.method == "GET" else "/"
        return RedirectResponse(f"/sign-in?{urlencode({'next': there})}", 303)
    title = TITLES.get(problem.status, "This did not work")
    response = page(request, "problem.html", status=problem.status, title=title, message=problem.message)
    response.headers.update(problem.headers)
    return response


def for_programs(path: str) -> bool:
    return path.startswith("/api/")


async def _of_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return reply(request, error)


async def _of_steersman(request: Request, error: Exception) -> Response:
    assert isinstance(error, SteersmanError)
    problem = problem_of(error)
    if problem.status == 500:
        log.error("a request failed", exc_info=error)
    return reply(request, problem)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return reply(request, Problem(422, "invalid", in_words(error.errors())))


def in_words(errors: Sequence[Any]) -> str:
    """Which fields are wrong and why. What was sent is not repeated: it may be anything."""
    said = [f"{'.'.join(str(part) for part in one['loc'][1:]) or one['loc'][0]}: {one['msg']}" for one in errors[:5]]
    return "; ".join(_plain(one) for one in said)


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()[:300]


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "nothing here, or you may not see it", 405: "this address does not take that kind of request"}
    headers = dict(error.headers or {})
    problem = Problem(error.status_code, f"http_{error.status_code}", words.get(error.status_code, error.detail))
    return reply(request, Problem(problem.status, problem.code, problem.message, headers=headers))
