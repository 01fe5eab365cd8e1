"""The controller's internal door: a dispatch goes on with who asks, and its answer comes back as it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2

from services.api.tokens import Identity
from services.runtime.log import get_logger
from services.runtime.web import Refusal

log = get_logger(__name__)

CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 15.0
PASSED_ON: Final = (404, 409, 422)
AWAY: Final = "the controller does not answer, so nothing was dispatched; try again in a few seconds"
UNCERTAIN: Final = (
    "the controller did not answer in time; it may have accepted the dispatch: see /dispatch/history"
)


class Controller:
    """Asks the controller to dispatch."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def dispatch(self, order: dict[str, Any], who: Identity, request_id: str) -> dict[str, Any]:
        """What the controller accepted; raises Refusal with its answer, 503 while it is away."""
        headers = {"X-Tenant": who.tenant, "X-User": who.user, "X-Request-Id": request_id}
        try:
            answer = await self._client.post("/internal/dispatch", json=order, headers=headers)
        except httpx2.ConnectError as error:
            raise Refusal(503, AWAY, headers={"Retry-After": "2"}) from error
        except httpx2.TransportError as error:
            raise Refusal(504, UNCERTAIN) from error
        if answer.status_code == 200:
            accepted: dict[str, Any] = answer.json()
            return accepted
        if answer.status_code in PASSED_ON:
            refused: dict[str, Any] = answer.json()
            detail = str(refused.pop("detail", "the controller refused it"))
            raise Refusal(answer.status_code, detail, more=refused)
        log.warning("the controller failed", status=answer.status_code, answer=answer.text[:500])
        raise Refusal(503, AWAY, headers={"Retry-After": "2"})


@asynccontextmanager
async def connect(controller_url: str) -> AsyncIterator[Controller]:
    """A client with a few connections that stay open."""
    timeout = httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    async with httpx2.AsyncClient(base_url=controller_url, timeout=timeout, trust_env=False) as client:
        yield Controller(client)
