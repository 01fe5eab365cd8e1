"""The registry on behalf of the caller. The tenant in a path or body is the caller's: routes see to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Request

from services.api.caller import Caller, parts_of
from services.api.provisioning import Provisioning
from services.runtime.web import request_id_of

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Registry:
    """Provisioning for one caller: `await registry.one("boxes", registry.tenant, box_id)`."""

    provisioning: Provisioning
    tenant: str
    headers: Mapping[str, str]

    async def one(self, *path: str, **query: object) -> Json:
        """An object."""
        answer = await self.provisioning.ask("GET", path, self.headers, query=query)
        return dict(answer.body)

    async def many(self, *path: str, **query: object) -> list[Json]:
        """A list."""
        answer = await self.provisioning.ask("GET", path, self.headers, query=query)
        return list(answer.body)

    async def send(self, method: str, *path: str, body: object = None, **query: object) -> Json:
        """What a change answers; empty where it answers nothing."""
        answer = await self.provisioning.ask(method, path, self.headers, body=body, query=query)
        return dict(answer.body or {})


def on_behalf(request: Request, who: Caller) -> Registry:
    """Provisioning for the caller: who, from where, and under which request id."""
    headers = {"X-Actor": who.user, "X-Request-Id": request_id_of(request)}
    if request.client:
        headers["X-Client-Address"] = request.client.host
    return Registry(parts_of(request).provisioning, who.tenant, headers)


AskRegistry = Annotated[Registry, Depends(on_behalf)]
