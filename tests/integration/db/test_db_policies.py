"""Policies of TimescaleDB after a restore, and that they do what they are for."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from db.files import read_migrations
from db.migrate import run
from db.settings import Settings
from tests.integration.db.builders import a_fleet, add_sample
from tests.integration.db.conftest import Database

WANTED: Final = {
    **{
        (table, policy): span
        for table in ("telemetry", "telemetry_other", "system_metrics")
        for policy, span in (("policy_retention", "90 days"), ("policy_compression", "7 days"))
    },
    ("telemetry_1m", "policy_retention"): "90 days",
    ("telemetry_15m", "policy_retention"): "400 days",
    ("telemetry_1h", "policy_retention"): "1100 days",
    ("telemetry_1m", "policy_refresh_continuous_aggregate"): "02:00:00",
    ("telemetry_15m", "policy_refresh_continuous_aggregate"): "1 day",
    ("telemetry_1h", "policy_refresh_continuous_aggregate"): "3 days",
    ("telemetry_1d", "policy_refresh_continuous_aggregate"): "7 days",
}
JOBS: Final = """
select hypertable_name::text as name, proc_name::text as proc,
  coalesce(config ->> 'drop_after', config ->> 'compress_after', config ->> 'start_offset') as span
from timescaledb_information.jobs where hypertable_schema = 'public' and proc_name like 'policy%'"""


async def _policies(connection: Any) -> list[tuple[tuple[str, str], str]]:
    return sorted(((row["name"], row["proc"]), row["span"]) for row in await connection.fetch(JOBS))


async def test_a_restored_database_gets_each_policy_exactly_once_and_with_our_values(
    timescale_database: Database,
) -> None:
    # T-048, T-084, U-P17, P-053, P-054, P-055: some policies are missing, some are those of another release
    async with timescale_database.connect() as connection:
        for statement in (
            "select remove_continuous_aggregate_policy('telemetry_1h')",
            "select remove_continuous_aggregate_policy('telemetry_1d')",
            "select remove_retention_policy('system_metrics')",
            "select remove_retention_policy('telemetry')",
            "select add_retention_policy('telemetry', drop_after => interval '30 days')",
            "call remove_columnstore_policy('telemetry')",
            "call add_columnstore_policy('telemetry', after => interval '1 hour')",
        ):
            await connection.execute(statement)

    for _ in range(3):
        assert await run(Settings(database_url=timescale_database.url), read_migrations()) == 0

    async with timescale_database.connect() as connection:
        assert await _policies(connection) == sorted(WANTED.items())


async def test_no_policy_and_no_function_drops_alerts_or_the_audit_log(timescale_database: Database) -> None:
    # P-056, P-057: what is dropped by age is named, and nothing else
    async with timescale_database.connect() as connection:
        tables = {name for (name, proc), _ in await _policies(connection) if proc == "policy_retention"}

    assert tables == {
        "telemetry", "telemetry_other", "system_metrics", "telemetry_1m", "telemetry_15m", "telemetry_1h",
    }  # fmt: skip


async def test_the_compression_policy_packs_days_older_than_a_week(timescale_database: Database) -> None:
    # T-080, P-055
    week = datetime.now(UTC) - timedelta(days=9)
    async with timescale_database.connect() as connection:
        fleet = await a_fleet(connection)
        for second in range(50):
            await add_sample(connection, fleet.key, week + timedelta(seconds=second), {"soc_pct": 50})
        job = await connection.fetchval(
            "select job_id from timescaledb_information.jobs"
            " where proc_name = 'policy_compression' and hypertable_name = 'telemetry'"
        )
        await connection.execute(f"call run_job({job})")

        packed = await connection.fetchval(
            "select number_compressed_chunks from hypertable_compression_stats('telemetry')"
        )
        assert packed >= 1
        count = "select count(*) from telemetry where device_key = $1"
        assert await connection.fetchval(count, fleet.key) == 50
