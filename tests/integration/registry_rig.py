"""Provisioning as a real process without Kafka, with a tenant, and what administrators do to it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from tests.integration.controller_rig import until
from tests.integration.door_rig import Service, a_service

KEY: Final = {"X_Admin_Key": "change-me-now"}
TENANT: Final = "mine"
UNFIT: Final = (
    "a+b",
    "a#b",
    "a$b",
    "a%2Fb",
    "a%00b",
    "a%0Ab",
    "%D0%B0",
    "A",
    "a" * 37,
    "%EF%BD%81",
    "..%2F..",
)
"""What no name may be: wildcards, slashes, control characters, letters that only look like ours."""


@dataclass
class Door:
    """The administrators' door, with the key."""

    service: Service

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The answer, whatever it is."""
        return await self.service.ask(method, f"/api/admin{path}", body, **{**KEY, **headers})

    async def does(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The JSON of a success."""
        answer = await self.ask(method, path, body, **headers)
        assert answer.is_success, (method, path, answer.text)
        return answer.json() if answer.content else None

    async def box(self, box_id: str = "hems-900100", **more: Any) -> Any:
        """A new box of our tenant."""
        return await self.does("POST", "/boxes", {"tenant_id": TENANT, "box_id": box_id, **more})


@asynccontextmanager
async def a_door(directory: Path, environment: dict[str, str]) -> AsyncIterator[Door]:
    """Open; not ready where nobody gave it a Kafka."""
    async with a_service("provisioning", directory, environment, until_ready=False) as service:

        async def is_open() -> bool:
            return (await service.readiness())[0] > 0

        await until("the door is open", is_open)
        yield Door(service)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def door(tmp_path: Path, role_url: Callable[[str], str]) -> AsyncIterator[Door]:
    async with a_door(tmp_path, {"DATABASE_URL": role_url("provisioning")}) as made:
        await made.does("POST", "/tenants", {"tenant_id": TENANT, "name": "Mine"})
        yield made


async def audit_rows(db: Any, action: str) -> list[dict[str, Any]]:
    """What the audit log says of it, oldest first."""
    rows = await db.fetch("select * from admin_audit where action = $1 order by at", action)
    return [{**dict(row), "detail": json.loads(row["detail"])} for row in rows]
