"""Telemetry: views, deletion and rollups, on either form."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest

from overwatt.quantities import COLUMNS
from tests.integration.db.builders import a_fleet, add_other, add_sample, refresh
from tests.integration.db.conftest import Database

DAY: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
HOUR: Final = DAY + timedelta(hours=10)


def _at(seconds: float) -> datetime:
    return HOUR + timedelta(seconds=seconds)


async def _bucket(connection: Any, level: str, key: int, bucket: datetime) -> dict[str, Any]:
    row = await connection.fetchrow(
        f"select * from telemetry_{level} where device_key = $1 and bucket = $2", key, bucket
    )
    assert row, f"no {level} bucket at {bucket}"
    return dict(row)


async def test_telemetry_has_the_canonical_columns_in_their_order(database: Database) -> None:
    async with database.connect() as connection:
        for name in ("telemetry", "v_telemetry"):
            columns = [
                row["attname"]
                for row in await connection.fetch(
                    "select attname from pg_attribute where attrelid = $1::text::regclass and attnum > 0"
                    " order by attnum",
                    name,
                )
            ]
            first = {
                "telemetry": ["device_key"],
                "v_telemetry": ["tenant_id", "device_id", "site_id", "box_id"],
            }
            assert columns == [*first[name], "ts", *COLUMNS, "quality"]


async def test_the_same_sample_is_stored_once(database: Database) -> None:
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        await add_sample(connection, fleet.key, _at(0), {"soc_pct": 50})

        with pytest.raises(asyncpg.UniqueViolationError):
            await add_sample(connection, fleet.key, _at(0), {"soc_pct": 51})


async def test_a_gauge_rolls_up_to_sum_count_extremes_and_last_at_every_level(database: Database) -> None:
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        for seconds, watts in ((0, 4.0), (30, 8.0), (70, -2.0), (3599, 1.0)):
            await add_sample(connection, fleet.key, _at(seconds), {"active_power_w": watts, "temp_c": None})
        await add_sample(connection, fleet.key, _at(3600 * 5), {"active_power_w": 32.0})
        await refresh(connection)

        def gauge(row: dict[str, Any]) -> tuple[Any, ...]:
            return (row["n"], *(row[f"active_power_w_{part}"] for part in ("sum", "n", "min", "max", "last")))

        assert gauge(await _bucket(connection, "1m", fleet.key, HOUR)) == (2, 12.0, 2, 4.0, 8.0, 8.0)
        assert gauge(await _bucket(connection, "15m", fleet.key, HOUR)) == (3, 10.0, 3, -2.0, 8.0, -2.0)
        assert gauge(await _bucket(connection, "1h", fleet.key, HOUR)) == (4, 11.0, 4, -2.0, 8.0, 1.0)
        day = await _bucket(connection, "1d", fleet.key, DAY)
        assert gauge(day) == (5, 43.0, 5, -2.0, 32.0, 32.0)
        assert (day["temp_c_sum"], day["temp_c_n"], day["temp_c_last"]) == (None, 0, None)


async def test_last_is_the_last_known_value_although_the_newest_row_lacks_it(database: Database) -> None:
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        await add_sample(connection, fleet.key, _at(0), {"operating_state": 4, "energy_import_wh": 100})
        await add_sample(connection, fleet.key, _at(10), {"energy_import_wh": 110})
        await add_sample(connection, fleet.key, _at(20), {"soc_pct": 50})
        await refresh(connection)

        row = await _bucket(connection, "1d", fleet.key, DAY)

        assert row["operating_state_last"] == 4
        assert (row["energy_import_wh_first"], row["energy_import_wh_last"]) == (100, 110)


async def test_bad_samples_are_kept_and_left_out_of_rollups(database: Database) -> None:
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        await add_sample(connection, fleet.key, _at(0), {"active_power_w": 5}, quality=1)
        await add_sample(connection, fleet.key, _at(1), {"active_power_w": 9999}, quality=2)
        await refresh(connection)

        row = await _bucket(connection, "1h", fleet.key, HOUR)

        assert (row["n"], row["active_power_w_max"]) == (1, 5)
        assert (
            await connection.fetchval("select count(*) from telemetry where device_key = $1", fleet.key) == 2
        )


async def test_a_late_sample_changes_exactly_its_buckets(database: Database) -> None:
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        await add_sample(connection, fleet.key, _at(0), {"active_power_w": 1})
        await add_sample(connection, fleet.key, _at(7200), {"active_power_w": 2})
        await refresh(connection)
        untouched = await _bucket(connection, "1h", fleet.key, _at(7200))

        await add_sample(connection, fleet.key, _at(60), {"active_power_w": 4})
        await refresh(connection)

        assert (await _bucket(connection, "1m", fleet.key, _at(60)))["active_power_w_sum"] == 4
        assert (await _bucket(connection, "1h", fleet.key, HOUR))["active_power_w_sum"] == 5
        assert (await _bucket(connection, "1d", fleet.key, DAY))["active_power_w_sum"] == 7
        assert await _bucket(connection, "1h", fleet.key, _at(7200)) == untouched


async def test_energy_counts_on_over_a_reset(database: Database) -> None:
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        for seconds, energy in ((0, 1000), (1800, 1400), (1810, 20), (3000, 70), (3700, 100)):
            await add_sample(connection, fleet.key, _at(seconds), {"energy_import_wh": energy})
        await refresh(connection)

        resets = await connection.fetch(
            "select ts, before_value, after_value from counter_reset where device_key = $1", fleet.key
        )
        assert [tuple(row) for row in resets] == [(_at(1810), 1400, 20)]
        energy_wh = "select energy_wh($1, 'energy_import_wh', $2, $3)"
        assert await connection.fetchval(energy_wh, fleet.key, HOUR, _at(3600)) == 470
        assert await connection.fetchval(energy_wh, fleet.key, _at(3600), _at(7200)) == 30
        assert await connection.fetchval(energy_wh, fleet.key, _at(7200), _at(9000)) is None
        hours = await connection.fetch(
            "select energy_import_kwh from fleet.hourly_per_device where device_id = $1 order by hour",
            fleet.device,
        )
        assert [row["energy_import_kwh"] for row in hours] == [0.47, 0.03]


async def test_a_late_sample_corrects_the_reset_that_was_found_before(database: Database) -> None:
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        for seconds, energy in ((0, 1000), (4000, 20)):
            await add_sample(connection, fleet.key, _at(seconds), {"energy_import_wh": energy})
        await refresh(connection)

        await add_sample(connection, fleet.key, _at(100), {"energy_import_wh": 1300})
        await add_sample(connection, fleet.key, _at(3000), {"energy_import_wh": 10})
        await refresh(connection)

        resets = await connection.fetch(
            "select ts, before_value, after_value from counter_reset where device_key = $1", fleet.key
        )
        assert [tuple(row) for row in resets] == [(_at(3000), 1300, 10)]


async def test_the_views_for_people_show_power_and_hourly_energy(database: Database) -> None:
    # T-009, T-010, T-086
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        for minute in range(4):
            await add_sample(
                connection, fleet.key, _at(minute * 60), {"active_power_w": 1000 + minute % 2 * 1000}
            )
        await refresh(connection)

        hour = dict(
            await connection.fetchrow(
                "select * from fleet.hourly_per_device where device_id = $1", fleet.device
            )
        )
        powers = await connection.fetch(
            "select ts, active_power_w from monitoring.power_measurements where device_id = $1 order by ts",
            fleet.device,
        )

        assert (hour["hour"], hour["samples"], hour["tenant_id"]) == (HOUR, 4, fleet.tenant)
        assert (hour["avg_power_w"], hour["max_power_w"], hour["energy_kwh"]) == (1500, 2000, 1.5)
        assert len(powers) == 4


async def test_metrics_shows_every_quantity_in_narrow_form(database: Database) -> None:
    # X22
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        values = {name: float(number) for number, name in enumerate(COLUMNS, 1)}
        await add_sample(connection, fleet.key, _at(0), values, quality=1)
        await add_other(connection, fleet.key, _at(0), "fan_rpm", 1200)

        rows = await connection.fetch("select metric, value from metrics where box_id = $1", fleet.box)

        assert {row["metric"]: row["value"] for row in rows} == {**values, "fan_rpm": 1200}


async def test_deleting_whole_boxes_removes_raw_data_and_rollups_and_nothing_else(database: Database) -> None:
    # H-021, H-022
    async with database.connect() as connection:
        gone, kept = await a_fleet(connection), await a_fleet(connection)
        for fleet in (gone, kept):
            await add_sample(connection, fleet.key, _at(0), {"active_power_w": 1, "energy_import_wh": 9})
            await add_sample(connection, fleet.key, _at(60), {"active_power_w": 1, "energy_import_wh": 2})
            await add_other(connection, fleet.key, _at(0), "fan_rpm", 1200)
        await refresh(connection)

        boxes = "box_id in ($1, 'never-seen')"
        preview = await connection.fetch(
            f"select box_id, count(*) from metrics where {boxes} group by box_id", gone.box
        )
        status = await connection.execute(f"delete from metrics where {boxes}", gone.box)

        assert [tuple(row) for row in preview] == [(gone.box, 5)]
        assert status == "DELETE 5"
        for name in (
            "telemetry",
            "telemetry_1m",
            "telemetry_15m",
            "telemetry_1h",
            "telemetry_1d",
            "counter_reset",
        ):
            left = f"select count(*) from {name} where device_key = $1"
            assert await connection.fetchval(left, gone.key) == 0, name
            assert await connection.fetchval(left, kept.key) > 0, name
        assert await connection.fetchval("select count(*) from metrics where box_id = $1", kept.box) == 5
        await refresh(connection)
        assert (
            await connection.fetchval("select count(*) from telemetry_1d where device_key = $1", gone.key)
            == 0
        )


@pytest.mark.parametrize(
    "condition", ["metric = 'soc_pct'", "ts > now() - interval '1 hour' or metric = 'temp_c'"]
)
async def test_deleting_a_part_of_a_box_raises_and_deletes_nothing(
    database: Database, condition: str
) -> None:
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        await add_sample(connection, fleet.key, _at(0), {"soc_pct": 50, "temp_c": 20})

        with pytest.raises(asyncpg.RaiseError, match=f"DELETE named 1 of 2 rows of box {fleet.box}"):
            await connection.execute(f"delete from metrics where box_id = $1 and ({condition})", fleet.box)

        assert await connection.fetchval("select count(*) from metrics where box_id = $1", fleet.box) == 2


async def test_an_induced_failure_later_in_the_transaction_brings_the_box_back(database: Database) -> None:
    # H-022
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        await add_sample(connection, fleet.key, _at(0), {"soc_pct": 50})

        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("delete from metrics where box_id = $1", fleet.box)
        assert await connection.fetchval("select count(*) from metrics where box_id = $1", fleet.box) == 0
        await transaction.rollback()

        assert await connection.fetchval("select count(*) from metrics where box_id = $1", fleet.box) == 1
