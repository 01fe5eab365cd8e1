"""GET /alerts."""

from typing import Annotated

from fastapi import APIRouter, Query

from services.api.alerts import store
from services.api.alerts.schemas import Alert, Status
from services.api.caller import Caller, TenantDb

router = APIRouter(tags=["alerts"])


@router.get("/alerts")
async def get_alerts(
    who: Caller,
    db: TenantDb,
    status: Status = Status.OPEN,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[Alert]:
    """Alerts, newest first; the open ones unless another status is named."""
    wanted = None if status is Status.ALL else status.value
    return [Alert(**row) for row in await store.read_alerts(db, who.tenant, wanted, limit)]
