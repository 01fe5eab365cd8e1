"""What whoever runs the platform may ask of telemetry, on either form."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest

from tests.integration.db.builders import Fleet, a_fleet, add_sample, refresh
from tests.integration.db.conftest import Database

DAY: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)


async def _every_minute(connection: Any, fleet: Fleet, minutes: set[int]) -> None:
    for minute in minutes:
        await add_sample(connection, fleet.key, DAY + timedelta(minutes=minute), {"soc_pct": 50})
    await refresh(connection)


async def _completeness(connection: Any, fleet: Fleet, every: timedelta | None) -> list[tuple[Any, ...]]:
    rows = await connection.fetch(
        "select bucket, samples, expected, round(share::numeric, 2)::float"
        " from fleet.completeness($1, $2, $3) where device_id = $4 order by bucket",
        DAY, DAY + timedelta(hours=2), every, fleet.device,
    )  # fmt: skip
    return [(int((row[0] - DAY).total_seconds() / 60), *tuple(row)[1:]) for row in rows]


@pytest.mark.parametrize("every", [None, timedelta(minutes=1)])
async def test_an_operator_sees_which_quarter_hours_of_which_device_are_incomplete(
    database: Database, every: timedelta | None
) -> None:
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        # From 00:00 on; 3 are missing at 00:30, all from 00:45 to 01:00.
        gaps = {30, 31, 40} | set(range(45, 60))
        await _every_minute(connection, fleet, set(range(120)) - gaps)

        answer = await _completeness(connection, fleet, every)

    assert answer == [
        (15, 15, 15, 1.0), (30, 12, 15, 0.8), (45, 0, 15, 0.0),
        (60, 15, 15, 1.0), (75, 15, 15, 1.0), (90, 15, 15, 1.0), (105, 15, 15, 1.0),
    ]  # fmt: skip


async def test_core_telemetry_has_the_fields_of_a_sample(database: Database) -> None:
    # U-D15
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        samples: list[tuple[dict[str, float | None], int]] = [
            ({"active_power_w": 2.5e6, "power_setpoint_w": 3e6, "soc_pct": 40, "operating_state": 4}, 0),
            ({"active_power_w": 0, "operating_state": 7, "fault_code": 12}, 1),
            ({"operating_state": 1}, 0),
            ({"temp_c": 20}, 2),
        ]
        for minute, (values, quality) in enumerate(samples):
            await add_sample(connection, fleet.key, DAY + timedelta(minutes=minute), values, quality=quality)
        rows = await connection.fetch(
            "select timestamp, asset_id, site_id, asset_type, online, status, mw, mw_setpoint, quality,"
            " details ->> 'soc_pct' as soc from fleet.core_telemetry where asset_id = $1 order by 1",
            fleet.device,
        )

    assert [tuple(row)[1:4] for row in rows] == [(fleet.device, fleet.box, "battery")] * 4
    assert [tuple(row)[4:] for row in rows] == [
        (True, "running", 2.5, 3, "good", "40"),
        (True, "fault", 0, None, "uncertain", None),
        (False, "off", None, None, "good", None),
        (False, "bad", None, None, "bad", None),
    ]


async def test_tenants_read_their_events_and_not_the_views_of_all(database: Database) -> None:
    # U-D18
    async with database.connect() as connection:
        ours, theirs = await a_fleet(connection), await a_fleet(connection)
        for fleet in (ours, theirs):
            await connection.execute(
                "insert into events (ts, tenant_id, device_id, asset_id, event_type, severity, message,"
                " received_at) values (now(), $1, 'site', $2, 'device_silent', 'alarm', 'no answer', now())",
                fleet.tenant, fleet.device,
            )  # fmt: skip
        everybody = (
            "select asset_id, site_id, event_type, severity from fleet.events where tenant_id = any ($1)"
        )
        rows = await connection.fetch(everybody, [ours.tenant, theirs.tenant])
        assert {tuple(row) for row in rows} == {
            (fleet.device, fleet.box, "device_silent", "alarm") for fleet in (ours, theirs)
        }
        async with connection.transaction():
            await connection.execute("set local role api")
            await connection.execute("select set_config('app.tenant', $1, true)", ours.tenant)
            assert [row[0] for row in await connection.fetch("select asset_id from events")] == [ours.device]
        await connection.execute("set role api")
        for query in ("select * from fleet.events", "select * from fleet.core_telemetry"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(query)
