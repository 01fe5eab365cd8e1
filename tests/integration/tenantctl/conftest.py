"""A provisioning for each test, and tenantctl against it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.integration.door_rig import Service, a_service
from tests.integration.tenant_rig import Tenantctl, tenantctl


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def place(role_url: Callable[[str], str], kafka: str) -> dict[str, str]:
    return {
        "DATABASE_URL": role_url("provisioning"),
        "KAFKA_BOOTSTRAP": kafka,
        "APP_URL": "https://app.example",
    }


@pytest.fixture
async def door(tmp_path: Path, place: dict[str, str]) -> AsyncIterator[Service]:
    async with a_service("provisioning", tmp_path, place) as service:
        yield service


@pytest.fixture
def tenant(tmp_path: Path, door: Service) -> Tenantctl:
    return tenantctl(tmp_path, door)
