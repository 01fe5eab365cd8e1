"""The newest state of charge and power, from the last row of each block."""

import math
import struct

import pytest

from overwatt.v1.telemetry_pb2 import Block, Column, Record
from services.controller.measured import MAX_AGE_US, Latest
from services.controller.model import Measured

NOW_US = 1_795_000_000_000_000
SOC, POWER = 8, 1


def a_record(*rows: tuple[int, float, float], tenant: str = "tenant-a", asset: str = "a") -> Record:
    """Rows of (microseconds before now, SoC in %, power in W)."""
    count = len(rows)
    return Record(
        tenant=tenant,
        device="site-a",
        blocks=[
            Block(
                asset=asset,
                ts_us=struct.pack(f"<{count}q", *(NOW_US - row[0] for row in rows)),
                columns=[
                    Column(quantity=SOC, values=struct.pack(f"<{count}d", *(row[1] for row in rows))),
                    Column(quantity=POWER, values=struct.pack(f"<{count}d", *(row[2] for row in rows))),
                ],
            )
        ],
    )


def test_the_last_row_counts_and_power_is_in_mw() -> None:
    latest = Latest()
    latest.take(a_record((2_000_000, 40.0, 1e6), (1_000_000, 41.0, 5e6)))

    assert latest.of("tenant-a", "a", NOW_US) == Measured(soc_pct=41.0, power_mw=5.0)


def test_an_older_backlog_does_not_replace_a_live_sample() -> None:
    latest = Latest()
    latest.take(a_record((1_000_000, 41.0, 5e6)))
    latest.take(a_record((9_000_000, 90.0, 0.0)))

    assert latest.of("tenant-a", "a", NOW_US).soc_pct == 41.0


@pytest.mark.parametrize("absent", [math.nan, math.inf])
def test_what_is_absent_in_the_last_row_leaves_what_was_known(absent: float) -> None:
    latest = Latest()
    latest.take(a_record((2_000_000, 41.0, 5e6)))
    latest.take(a_record((1_000_000, absent, 6e6)))

    assert latest.of("tenant-a", "a", NOW_US) == Measured(soc_pct=41.0, power_mw=6.0)


def test_an_old_sample_and_another_tenants_sample_are_no_knowledge() -> None:
    latest = Latest()
    latest.take(a_record((MAX_AGE_US + 1, 41.0, 5e6)))
    latest.take(a_record((0, 50.0, 5e6), tenant="tenant-b"))

    assert latest.of("tenant-a", "a", NOW_US) == Measured()


def test_a_block_that_cannot_be_read_teaches_nothing() -> None:
    latest = Latest()
    broken = a_record((0, 41.0, 5e6))
    broken.blocks[0].ts_us = b"abc"
    latest.take(broken)
    short = a_record((0, 41.0, 5e6))
    short.blocks[0].columns[0].values = b"abc"
    latest.take(short)

    assert latest.of("tenant-a", "a", NOW_US) == Measured(power_mw=5.0)
