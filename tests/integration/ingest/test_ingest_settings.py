"""Settings mean what they say, seen from outside on the real path."""

from collections.abc import Iterator

import pytest

from tests.integration.ingest.conftest import Platform, a_device, a_platform, now_us
from tests.integration.ingest.test_ingest_faults import metric, until_metric

BATCH = 100
ROWS = "select count(*) from telemetry where device_key = $1"


@pytest.fixture(scope="module")
def components() -> Iterator[Platform]:
    with a_platform(TIMESCALE_BATCH_SIZE=str(BATCH), TIMESCALE_FLUSH_INTERVAL_MS="15000") as platform:
        yield platform


async def test_a_flush_waits_for_its_size_or_its_age(platform_path: Platform, tenant: str) -> None:
    """P-033: by a plain publish. P-039: 99 of 100 samples wait, one more and all are one flush. P-040: one
    alone is stored when its time has come. P-069: the names are a tenant's and a device's of the field."""
    path, sensor = platform_path, a_device(tenant, "sensor-001")
    await path.know(sensor)
    health, first_us = path.stack.ports.writer_health, now_us()

    with path.device(tenant, "sensor-001") as wire:
        wire.send([{"metrics": {"temp_c": n}, "ts": (first_us + n) / 1e6} for n in range(BATCH - 1)])
        await until_metric(health, "ingest_buffered_rows", BATCH - 1)
        assert (await path.fetch(ROWS, sensor.device_key))[0][0] == 0
        wire.send({"metrics": {"temp_c": 99}})
        await path.until(ROWS, sensor.device_key, is_true=lambda count: count == BATCH)
        assert await metric(health, "ingest_batch_rows_count") == 1

        wire.send({"metrics": {"temp_c": 100}})
        await path.until(ROWS, sensor.device_key, is_true=lambda count: count == BATCH + 1)
    assert await metric(health, "ingest_batch_rows_count") == 2
