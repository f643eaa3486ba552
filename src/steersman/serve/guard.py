"""What holds for every request: the Host it names, its key, its size, and the time its body may take."""

import asyncio
import hashlib
import hmac
from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steersman.serve.options import ServeOptions
from steersman.serve.problems import ApiError, HungUp, as_api_error, stopping

OPEN = ("/health", "/ping")
"""Routes that need no key."""
FOR_WEIGHTS = (
    "/abort_requests",
    "/collective_rpc",
    "/finish_weight_update",
    "/get_world_size",
    "/inference/v1/generate",
    "/init_weight_transfer_engine",
    "/is_paused",
    "/pause",
    "/reset_prefix_cache",
    "/resume",
    "/start_weight_update",
    "/update_weight_version",
    "/update_weights",
    "/weight_checker",
    "/weight_info",
)
"""Routes that need the key for weights, and are not there without one."""


class Guard:
    """The app inside checks of all requests."""

    def __init__(self, app: ASGIApp, options: ServeOptions) -> None:
        self._app, self._options = app, options
        self._keys = [_hashed(key) for key in options.api_keys]
        self._weights_key = None if options.weights_key is None else [_hashed(options.weights_key)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False

        async def sending(message: Message) -> None:
            nonlocal began
            began = began or message["type"] == "http.response.start"
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, self._limited(scope, receive), sending)
        except HungUp:
            return
        except Exception as error:
            failed = as_api_error(error)
            if not began:
                await failed.response()(scope, receive, sending)

    def _check(self, scope: Scope) -> None:
        """Raise if the request may not be answered."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        path: str = scope["path"]
        names = self._options.names
        if names and name_in(headers.get(b"host", b"").decode("latin-1")) not in names:
            raise ApiError(421, "this server does not answer to that name; start it with --host-name", code="host")
        if path not in OPEN:
            self._check_key(path, headers.get(b"authorization", b"").decode("latin-1"))
        if scope["app"].state.stopping and path not in OPEN:
            raise stopping()
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._most(scope):
            raise _too_long(self._most(scope))
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        has_body = scope["method"] == "POST" and (length != b"0" or b"transfer-encoding" in headers)
        # A page of another site cannot send these without asking first, which is never granted.
        if has_body and kind not in (b"application/json", b"application/octet-stream"):
            raise ApiError(415, "expected Content-Type: application/json", code="content_type")

    def _check_key(self, path: str, authorization: str) -> None:
        if path in FOR_WEIGHTS:
            if self._weights_key is None:
                raise ApiError(404, f"{path} is off; start the server with --allow-weight-updates", code="off")
            wanted: Sequence[bytes] = self._weights_key
        else:
            wanted = self._keys
        if not wanted:
            return
        kind, _, key = authorization.partition(" ")
        sent = _hashed(key.strip())
        # all are compared, so that the time tells nothing
        known = [hmac.compare_digest(sent, one) for one in wanted]
        if kind.lower() != "bearer" or not any(known):
            what = "the key for weights" if path in FOR_WEIGHTS else "an API key of this server"
            seen = "no key was sent" if not authorization else "the key that was sent is another one"
            raise ApiError(401, f"{path} needs {what} (Authorization: Bearer ...), and {seen}", code="invalid_api_key")

    def _most(self, scope: Scope) -> int:
        return self._options.max_weights if scope["path"] == "/update_weights" else self._options.max_body

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        left, whole = self._most(scope), False
        loop = asyncio.get_running_loop()
        until = loop.time() + (self._options.body_time if scope["path"] != "/update_weights" else 86_400)

        async def receiving() -> Message:
            nonlocal left, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body did not arrive within {self._options.body_time:g} s") from None
            left -= len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if left < 0:
                raise HTTPException(413, _too_long(self._most(scope)).message)
            return message

        return receiving


def _hashed(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _too_long(most: int) -> ApiError:
    return ApiError(413, f"the body is larger than {most:,} bytes; --max-body sets the limit", code="body_too_large")


def name_in(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
