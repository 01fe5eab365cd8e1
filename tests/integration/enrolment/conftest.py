"""A provisioning with an authority for each test, with two boxes that have not come in."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.integration.enrol_rig import Place, a_place, add_boxes


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def place(tmp_path: Path, role_url: Callable[[str], str], db: Any) -> AsyncIterator[Place]:
    async with a_place(tmp_path, role_url("provisioning"), ENROL_FAILURES_PER_MINUTE="1000000") as running:
        await add_boxes(db, running.tenant, "hems-900100", "hems-900101")
        yield running
