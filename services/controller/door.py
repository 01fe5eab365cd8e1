"""`POST /internal/dispatch`, for the api alone: it has checked who asks and says so in headers."""

import math
from typing import Annotated, Any, Final

from fastapi import FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from structlog.contextvars import bound_contextvars

from overwatt.topics import is_device, is_tenant
from services.controller import metrics
from services.controller.desk import Desk, allocation
from services.controller.messages import clean
from services.controller.model import Accepted, Order, Refused, Unknown
from services.runtime.errors import Unavailable

DEFAULT_TTL_S: Final = 60.0
LONGEST_TTL_S: Final = 86_400.0
LONGEST_DURATION_S: Final = 366 * 86_400.0
MAX_MW: Final = 1e6
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class DispatchRequest(BaseModel):
    """What was asked for. An unknown field is refused: a misspelt duration would run for ever."""

    model_config = ConfigDict(extra="forbid")

    asset_id: str | None = None
    site_id: str | None = None
    mw: Annotated[Finite, Field(ge=-MAX_MW, le=MAX_MW)]
    """Positive on discharge."""
    duration_s: Annotated[Finite, Field(gt=0, le=LONGEST_DURATION_S)] | None = None
    """After it the setpoint returns to 0; without one it stays until the next."""
    ttl_s: Annotated[Finite, Field(gt=0, le=LONGEST_TTL_S)] = DEFAULT_TTL_S
    """Not applied later than this many seconds from now."""


def make_door(desk: Desk) -> FastAPI:
    """The application."""
    app = FastAPI(title="Overwatt controller (internal)", openapi_url=None)

    @app.post("/internal/dispatch")
    async def dispatch(
        body: DispatchRequest,
        x_tenant: Annotated[str, Header()],
        x_user: Annotated[str, Header()],
        x_request_id: Annotated[str, Header()] = "",
    ) -> JSONResponse:
        if not is_tenant(x_tenant):
            return _error(422, f"header X-Tenant is {x_tenant!r}; it must name a tenant")
        order = _order(body, x_tenant, x_user)
        if order is None:
            return _error(422, "asset_id and site_id are both missing; name one of them")
        if not is_device(order.asset_id or order.site_id or ""):
            raise Unknown(
                f"{'asset' if order.asset_id else 'site'} {order.asset_id or order.site_id!r} does not exist"
            )
        with bound_contextvars(request_id=clean(x_request_id)):
            accepted = await desk.dispatch(order)
        metrics.DISPATCHES.labels("accepted").inc()
        return JSONResponse(_answer(accepted))

    @app.exception_handler(Unknown)
    async def unknown(_: Request, error: Unknown) -> JSONResponse:
        metrics.DISPATCHES.labels("unknown").inc()
        return _error(404, str(error))

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        metrics.DISPATCHES.labels(error.reason).inc()
        return _error(409, str(error), reason=error.reason, box=error.box, capability=error.capability)

    @app.exception_handler(Unavailable)
    async def unavailable(_: Request, error: Unavailable) -> JSONResponse:
        metrics.DISPATCHES.labels("unavailable").inc()
        return _error(503, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        metrics.DISPATCHES.labels("invalid").inc()
        return _error(422, "; ".join(_problem(each) for each in error.errors()))

    return app


def _order(body: DispatchRequest, tenant: str, user: str) -> Order | None:
    if not body.asset_id and not body.site_id:
        return None
    return Order(
        tenant_id=tenant,
        asset_id=body.asset_id or None,
        site_id=None if body.asset_id else body.site_id,  # both: the asset (D-027)
        power_mw=body.mw,
        duration_s=body.duration_s,
        ttl_s=body.ttl_s,
        requested_by=clean(user),
    )


def _answer(accepted: Accepted) -> dict[str, Any]:
    order, split = accepted.order, accepted.split
    return {
        "dispatch_id": str(accepted.dispatch_id),
        "state": "accepted",
        "asset_id": order.asset_id,
        "site_id": order.site_id,
        "mw": order.power_mw,
        "duration_s": order.duration_s,
        "allocations": [allocation(share) for share in split.shares],
        "unplaced_mw": split.unplaced_mw,
        "unplaced_why": split.unplaced_why,
        "expires_at": accepted.expires_at.isoformat(),
    }


def _problem(problem: dict[str, Any]) -> str:
    """Which field, what is wrong, and the value that was given; NaN and infinity are not JSON."""
    field = ".".join(str(part) for part in problem["loc"] if part != "body") or "body"
    given = problem.get("input")
    if isinstance(given, dict):
        return f"{field}: {problem['msg']}"
    shown = str(given)[:100] if isinstance(given, float) and not math.isfinite(given) else repr(given)[:100]
    return f"{field}: {problem['msg']} (got {shown})"


def _error(status: int, detail: str, **more: str | None) -> JSONResponse:
    return JSONResponse({"detail": detail, **more}, status_code=status)
