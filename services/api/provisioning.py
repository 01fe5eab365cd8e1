"""Provisioning's door: a request goes on with our key, and its answer comes back as it is."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx2

from services.runtime.log import get_logger
from services.runtime.web import Refusal

log = get_logger(__name__)

CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 20.0
PASSED_ON: Final = (400, 403, 404, 405, 409, 410, 413, 422, 429)
AWAY: Final = "provisioning does not answer, so nothing was changed; try again in a few seconds"
UNCERTAIN: Final = "provisioning did not answer in time; it may have done it: read again before you repeat it"


@dataclass(frozen=True, slots=True)
class Answer:
    """What provisioning said, when it did not refuse."""

    status: int
    body: Any
    """None where there is nothing to say"""


class Provisioning:
    """Passes requests on."""

    def __init__(self, client: httpx2.AsyncClient, admin_key: str) -> None:
        self._client = client
        self._admin_key = admin_key

    async def ask(
        self,
        method: str,
        path: tuple[str, ...],
        headers: Mapping[str, str],
        *,
        body: object = None,
        query: Mapping[str, object] | None = None,
    ) -> Answer:
        """The answer; raises Refusal with a refusal's own words, 503 or 504 while it is away."""
        wanted = {name: str(value) for name, value in (query or {}).items() if value is not None}
        try:
            answer = await self._client.request(
                method,
                f"/api/admin/{'/'.join(map(_segment, path))}",
                params=wanted,
                content=None if body is None else json.dumps(body),
                headers={**headers, "X-Admin-Key": self._admin_key, "Content-Type": "application/json"},
            )
        except httpx2.ConnectError as error:
            raise Refusal(503, AWAY, headers={"Retry-After": "2"}) from error
        except httpx2.TransportError as error:
            raise Refusal(504, UNCERTAIN) from error
        if answer.is_success:
            return Answer(answer.status_code, answer.json() if answer.content else None)
        if answer.status_code in PASSED_ON:
            raise _refusal(answer)
        log.error("provisioning failed", status=answer.status_code, answer=answer.text[:500])
        raise Refusal(503, AWAY, headers={"Retry-After": "2"})


@asynccontextmanager
async def connect(provisioning_url: str, admin_key: str) -> AsyncIterator[Provisioning]:
    """A client with a few connections that stay open."""
    timeout = httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    async with httpx2.AsyncClient(base_url=provisioning_url, timeout=timeout, trust_env=False) as client:
        yield Provisioning(client, admin_key)


def _segment(name: str) -> str:
    # Routes take only names that cannot climb; a dot alone would, quoted or not.
    assert name not in ("", ".", ".."), name
    return quote(name, safe="")


def _refusal(answer: httpx2.Response) -> Refusal:
    try:
        said = dict(answer.json())
    except ValueError:
        said = {}
    said.pop("request_id", None)
    field = said.pop("field", None)
    detail = str(said.pop("detail", "provisioning refused it"))
    after = answer.headers.get("retry-after")
    headers = {"Retry-After": after} if after else None
    return Refusal(answer.status_code, detail, field=field, headers=headers, more=said)
