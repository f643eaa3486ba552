"""Errors in the shape of OpenAI's API: {"error": {"message", "type", "param", "code"}}."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from steersman.errors import DataError, SteersmanError, UsageError

log = logging.getLogger("steersman.serve")

TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
BUSY_WAIT = "1"
"""Seconds after which a client may try again."""


class ApiError(Exception):
    """A request that is refused, with its status. `param` names the field at fault, `code` is a word for programs."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @property
    def body(self) -> dict[str, Any]:
        usual = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = TYPES.get(self.status, usual)
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> Mapping[str, str]:
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {"Retry-After": BUSY_WAIT} if self.status in (429, 503) else {}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, dict(self.headers))


class HungUp(Exception):  # noqa: N818
    """The client has gone: there is nobody to answer."""


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    return ApiError(400, message, param=param, code=code)


def too_busy(open_answers: int, limit: int) -> ApiError:
    return ApiError(
        429,
        f"{open_answers} answers are being generated or wait, and the limit is {limit}; try again in a moment",
        code="rate_limit_exceeded",
    )


def stopping() -> ApiError:
    return ApiError(503, "the server is stopping", code="stopping")


def as_api_error(error: Exception) -> ApiError:
    """Any error as one that is sent. What is not ours is logged, and its words are kept back."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UsageError | DataError):
        return bad_request(str(error))
    if isinstance(error, SteersmanError):
        return ApiError(500, str(error), code="model_error")
    log.error("a request failed", exc_info=error)
    return ApiError(500, "something in the server failed; its log says what", code="internal_error")


def install_problems(app: FastAPI) -> None:
    """Let the app answer every error in one form."""
    for kind in (ApiError, SteersmanError):
        app.add_exception_handler(kind, _any)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _of_http)


async def _any(_: Request, error: Exception) -> JSONResponse:
    return as_api_error(error).response()


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return in_words(error.errors()).response()


def in_words(errors: Sequence[Any]) -> ApiError:
    """Which field is wrong and why. What was sent is not repeated: it may be anything."""
    first = errors[0]
    parts = [str(part) for part in first["loc"] if part != "body"]
    if first["type"] == "json_invalid":
        return bad_request("the body is no valid JSON; expected one object")
    place = ".".join(parts[:4])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    said = str(first["msg"]).encode("utf-8", "replace").decode()[:300]
    return bad_request(f"{place or 'the body'}: {said}{more}", parts[0] if parts else None)


async def _of_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    words = {404: "there is no such route", 405: "this route does not take that method"}
    codes = {408: "timeout", 413: "body_too_large"}
    message = words.get(error.status_code, str(error.detail))
    return ApiError(error.status_code, message, code=codes.get(error.status_code)).response()
