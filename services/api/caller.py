"""What an endpoint asks for in its signature: the caller, and a transaction that sees the caller's tenant."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from services.api import metrics
from services.api.auth import Policy, Unknown, identify
from services.api.controller import Controller
from services.api.database import tenant_transaction
from services.api.provisioning import Provisioning
from services.api.tokens import Identity
from services.runtime import clock
from services.runtime.postgres import Connection, Pool
from services.runtime.web import Refusal

_DOCUMENTED = HTTPBearer(auto_error=False, description="From `make token TENANT= ROLE= USER=`")


TENANT_STATE: Final = "select state from tenant where tenant_id = $1"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application works with."""

    pool: Pool
    controller: Controller
    provisioning: Provisioning
    policy: Policy


def parts_of(request: Request) -> Parts:
    """The application's parts."""
    parts: Parts = request.app.state.parts
    return parts


async def caller(request: Request, _: Annotated[object, Depends(_DOCUMENTED)] = None) -> Identity:
    """Who asks, or 401 with the reason's class."""
    peer = request.client.host if request.client else None
    try:
        who = identify(request.headers, peer, parts_of(request).policy, now=clock.now())
    except Unknown as error:
        metrics.REFUSED.labels(error.reason).inc()
        headers = {"WWW-Authenticate": "Bearer"}
        raise Refusal(401, str(error), field="Authorization", headers=headers) from error
    request.state.tenant = who.tenant
    return who


Caller = Annotated[Identity, Depends(caller)]


async def admitted(request: Request, who: Caller) -> None:
    """Read live: users of a tenant that is disabled are nobody here, from the moment on (X18)."""
    async with tenant_transaction(parts_of(request).pool, who.tenant) as db:
        state = await db.fetchval(TENANT_STATE, who.tenant)
    if state not in (None, "active"):
        raise Refusal(401, f"tenant {who.tenant!r} is {state}; ask its operator", field="Authorization")


async def tenant_db(request: Request, who: Caller) -> AsyncIterator[Connection]:
    """A transaction as the caller's tenant, ended before the answer is sent."""
    async with tenant_transaction(parts_of(request).pool, who.tenant) as db:
        yield db


TenantDb = Annotated[Connection, Depends(tenant_db, scope="function")]
