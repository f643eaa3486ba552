"""What holds for every request and every reply, whatever the route: host names, sizes, headers, and faults."""

import logging
from collections.abc import Iterable

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steersman.studio.settings import StudioSettings

log = logging.getLogger("steersman.studio")

POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{what}-src 'self'" for what in ("script", "style", "connect", "font", "manifest", "worker")),
        "img-src 'self' data:",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # not `no-referrer`: with it a browser sends its own forms under the origin "null"
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
UPLOADS = "/files"
"""The end of the addresses that take a file."""


class TooLarge(HTTPException):
    """A body with more bytes than its address takes. FastAPI lets an error of this kind through as it is."""

    def __init__(self) -> None:
        super().__init__(413, "the request is too large")


class Hardened:
    """The app inside checks of all requests."""

    def __init__(self, app: ASGIApp, settings: StudioSettings) -> None:
        self._app, self._settings = app, settings
        extra = {"strict-transport-security": "max-age=31536000"} if settings.encrypted else {}
        self._headers = [(name.encode(), value.encode()) for name, value in (HEADERS | extra).items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False

        async def sending(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                message["headers"] = [*message["headers"], *self._added(scope, message["headers"])]
            await send(message)

        if (refused := self._refusal(scope)) is not None:
            await refused(scope, receive, sending)
            return
        try:
            await self._app(scope, self._limited(scope, receive), sending)
        except Exception:
            log.exception("a request failed: %s %s", scope["method"], scope.get("route") or "")
            if not began:
                message = "something in the studio failed; its log says what. Nothing of this was saved"
                await _refused(500, "fault", message)(scope, receive, sending)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or name_in(hosts[0]) not in self._settings.names:
            return _refused(
                421, "host", "this address is not one of the studio's; `steersman studio --host-name` names another one"
            )
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length) > self._most(scope):
            return _refused(413, "too_large", f"the request is larger than {self._most(scope):,} bytes")
        return None

    def _most(self, scope: Scope) -> int:
        return self._settings.max_upload if scope["path"].endswith(UPLOADS) else self._settings.max_body

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        left = self._most(scope)

        async def receiving() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise TooLarge
            return message

        return receiving

    def _added(self, scope: Scope, there: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        names = {name.lower() for name, _ in there}
        kept = b"no-cache" if scope["path"].startswith("/static/") else b"no-store"
        return [one for one in (*self._headers, (b"cache-control", kept)) if one[0] not in names]


def name_in(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


def _refused(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
