"""Both forms give equal answers to the same questions on the same data, late data included."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from overwatt.quantities import COLUMNS
from tests.integration.db.builders import a_fleet, add_other, add_sample, refresh
from tests.integration.db.conftest import Database

DAY: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=6)
COUNTERS: Final = ("energy_import_wh", "energy_export_wh", "charge_cycles")
QUESTIONS: Final = {
    # Raw, in every form in which people meet it.
    "samples": f"select ts, {', '.join(COLUMNS)}, quality from telemetry where device_key = KEY order by ts",
    "metrics": "select ts, metric, value, quality from metrics where device_id = 'DEVICE' order by 1, 2",
    "power": "select ts, active_power_w, energy_import_wh from monitoring.power_measurements"
    " where device_id = 'DEVICE' order by ts",
    "core": "select timestamp, asset_type, online, status, mw, mw_setpoint, quality, details::text"
    " from fleet.core_telemetry where asset_id = 'DEVICE' order by 1",
    # Gauges, counters and states of every level; counters with their resets.
    **{
        f"rollup {level}": f"select to_jsonb(t) - 'device_key' from telemetry_{level} t"
        " where device_key = KEY order by bucket"
        for level in ("1m", "15m", "1h", "1d")
    },
    "hours": "select hour, samples, avg_power_w, energy_kwh, energy_import_kwh, energy_export_kwh"
    " from fleet.hourly_per_device where device_id = 'DEVICE' order by hour",
    "resets": "select metric, ts, before_value, after_value from counter_reset where device_key = KEY"
    " order by 1, 2",
    **{
        f"energy {name} {hours}": f"select energy_wh(KEY, '{name}', timestamptz '{DAY.isoformat()}' + {first}"
        f" * interval '1 hour', timestamptz '{DAY.isoformat()}' + {last} * interval '1 hour')"
        for name in COUNTERS
        for hours, first, last in (("all", 0, 48), ("one", 1, 2), ("none", 5, 6), ("across", 1, 24))
    },
    "completeness": "select bucket, samples, expected, share from fleet.completeness("
    f"timestamptz '{DAY.isoformat()}', timestamptz '{DAY.isoformat()}' + interval '3 hours')"
    " where device_id = 'DEVICE' order by bucket",
}


def _samples(seed: int) -> Iterator[tuple[datetime, dict[str, float | None], int]]:
    """Partly filled rows, some bad, counters that start again; eighths: sums are exact in any order."""
    chance = random.Random(seed)
    counters = dict.fromkeys(COUNTERS, 1_000.0)
    for at in sorted(
        DAY + timedelta(hours=hour, microseconds=chance.randrange(3_600_000_000))
        for hour in (0, 1, 2, 23, 24, 40)
        for _ in range(10)
    ):
        values: dict[str, float | None] = {
            name: chance.randrange(-8_000, 8_000) / 8 if chance.random() < 0.6 else None for name in COLUMNS
        }
        for name in COUNTERS:
            counters[name] = 1.0 if chance.random() < 0.1 else counters[name] + chance.randrange(80) / 8
            values[name] = counters[name] if chance.random() < 0.8 else None
        yield at, values, chance.choice([0, 0, 0, 1, 2])


async def _answers(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    async with database.connect() as connection:
        fleet = await a_fleet(connection)
        everything = list(_samples(11))
        late = everything[::5]
        for at, values, quality in [one for one in everything if one not in late]:
            await add_sample(connection, fleet.key, at, values, quality=quality)
            await add_other(connection, fleet.key, at, "fan_rpm", 1_200)
        await refresh(connection)
        # What comes late changes what was answered before.
        for at, values, quality in late:
            await add_sample(connection, fleet.key, at, values, quality=quality)
        await refresh(connection)
        return {
            name: [
                tuple(row)
                for row in await connection.fetch(
                    query.replace("KEY", str(fleet.key)).replace("DEVICE", fleet.device)
                )
            ]
            for name, query in QUESTIONS.items()
        }


async def test_both_forms_answer_all_questions_alike(
    plain_database: Database, timescale_database: Database
) -> None:
    plain, timescale = await _answers(plain_database), await _answers(timescale_database)

    assert len(plain["resets"]) > 3
    assert len(plain["rollup 1d"]) == 2
    assert {share for _, _, _, share in plain["completeness"]} > {1.0}
    for question in QUESTIONS:
        assert plain[question], question
        assert plain[question] == timescale[question], question
