"""An HTTP door: an id and one log line for every request, and errors that say what would be right.

Every error is `{"detail": ..., "field": ..., "request_id": ...}`. A caller's X-Request-Id is kept when it
is a plain word of at most 64 characters. A bug is a 500 without a trace; the trace is in the log.
"""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from services.runtime.errors import Invalid, Unavailable
from services.runtime.log import get_logger

log = get_logger(__name__)

MAX_BODY_BYTES: Final = 65_536
QUIET: Final = frozenset({"/health", "/healthz", "/health/ready", "/metrics"})
"""Asked for every few seconds: in the log only when it is verbose."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

REQUESTS: Final = Counter(
    "http_requests_total", "Requests answered, by route template and status", ["method", "route", "status"]
)
SECONDS: Final = Histogram(
    "http_request_seconds",
    "Seconds from a request's head to the end of its answer",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class Refusal(Exception):
    """An answer that is not what was asked for: status, a sentence, and the field that it is about."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field
        self.headers = headers
        self.more = more or {}


def request_id_of(request: Request) -> str:
    """The id that the log lines and the answer of this request carry."""
    return str(request.state.request_id)


def furnish(
    app: FastAPI,
    statuses: Mapping[type[Exception], int] | None = None,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> None:
    """Give an application request ids, access log, metrics, a limit on bodies, and its errors' form.

    `statuses` are of the service's own exceptions; their text is the answer.
    """
    app.add_middleware(_Door, max_body_bytes=max_body_bytes)
    listed = "; /docs lists them" if app.docs_url else ""
    listed_methods = "; /docs lists what is" if app.docs_url else ""
    for kind, status in (statuses or {}).items():
        app.add_exception_handler(kind, _with_status(status))

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> JSONResponse:
        return _answer(
            request, error.status, error.detail, error.field, headers=error.headers, more=error.more
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        return _answer(request, 422, "; ".join(map(_sentence, problems)), _field(problems[0]))

    @app.exception_handler(Invalid)
    async def unusable(request: Request, error: Invalid) -> JSONResponse:
        return _answer(request, 422, str(error))

    @app.exception_handler(Unavailable)
    async def unavailable(request: Request, error: Unavailable) -> JSONResponse:
        log.warning("unavailable", what=request.url.path, error=str(error))
        sentence = "a part of the platform that this needs does not answer; try again in a few seconds"
        return _answer(request, 503, sentence, headers={"Retry-After": "2"})

    @app.exception_handler(HTTPException)
    async def refused_by_framework(request: Request, error: HTTPException) -> JSONResponse:
        sentences = {
            400: "the request cannot be read; its body must be JSON in UTF-8, nested a few levels at most",
            404: f"there is no route {request.url.path}{listed}",
            405: f"{request.method} is not possible on {request.url.path}{listed_methods}",
        }
        detail = sentences.get(error.status_code, str(error.detail))
        return _answer(request, error.status_code, detail, headers=error.headers)


class _Door:
    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get("x-request-id"))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        begun, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        with bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, _limited(receive, self._max_body_bytes), send_with_id)
            except Exception:
                log.exception("a request met a bug")
                if status:
                    raise
                failed = _answer(
                    Request(scope), 500, "this is a bug; the log says more under this request_id"
                )
                await failed(scope, receive, send_with_id)
            finally:
                seconds = time.perf_counter() - begun
                route = getattr(scope.get("route"), "path", "none")
                REQUESTS.labels(scope["method"], route, status).inc()
                SECONDS.labels(scope["method"], route).observe(seconds)
                (log.debug if scope["path"] in QUIET else log.info)(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    ms=round(seconds * 1000, 1),
                    tenant=state.get("tenant"),
                )


def _with_status(status: int) -> Callable[[Request, Exception], JSONResponse]:
    return lambda request, error: _answer(request, status, str(error))


def _limited(receive: Receive, most_bytes: int) -> Receive:
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most_bytes:
            raise HTTPException(413, f"the body is too large; at most {most_bytes} bytes are read")
        return message

    return limited


def _request_id(given: str | None) -> str:
    return given if given and _REQUEST_ID.fullmatch(given) else uuid4().hex


def _answer(
    request: Request,
    status: int,
    detail: str,
    field: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, object] | None = None,
) -> JSONResponse:
    content = {**(more or {}), "detail": detail, "field": field, "request_id": request_id_of(request)}
    return JSONResponse(content, status_code=status, headers=dict(headers) if headers else None)


def _field(problem: Mapping[str, Any]) -> str:
    location: Sequence[Any] = problem["loc"]
    if problem["type"] == "json_invalid":
        return str(location[0])
    return ".".join(str(part) for part in location[1:]) or str(location[0])


def _sentence(problem: Mapping[str, Any]) -> str:
    """Which field, what would be right, and what was given (NaN and infinity are not JSON)."""
    if problem["type"] == "json_invalid":
        return f"body: must be JSON; it is not at character {problem['loc'][-1]}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = problem.get("input")
    if problem["type"] == "missing" or isinstance(given, dict):
        return f"{_field(problem)}: {message}"
    is_number = isinstance(given, float) and not math.isfinite(given)
    return f"{_field(problem)}: {message} (got {str(given) if is_number else ascii(given)[:100]})"
