"""Rows of the spool become batches."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.batch import pack
from edge_agent.model import Key, Row
from overwatt.topics import MAX_BATCH_BYTES
from overwatt.v1.telemetry_pb2 import Batch
from tests.fakes.agent_cloud import samples_of

numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.dictionaries(
    st.integers(1, 24) | st.sampled_from(["a_metric", "b" * 64]), numbers, min_size=1, max_size=5
)


@st.composite
def rows_of_a_spool(draw: st.DrawFn) -> list[Row]:
    rows, run, seq = [], 1, 0
    for _ in range(draw(st.integers(1, 12))):
        if draw(st.booleans()) and draw(st.booleans()):
            run, seq = run + 1, 0
        seq += draw(st.integers(1, 3))
        rows.append(
            Row(
                Key(run, seq),
                run * 1000,
                draw(st.sampled_from(["bess-1", "pv", "x" * 36])),
                draw(st.integers(0, 2**60)),
                draw(st.integers(0, 2)),
                draw(values),
            )
        )
    return rows


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(rows_of_a_spool())
def test_every_row_arrives_once_with_its_number_time_quality_and_values(rows: list[Row]) -> None:
    batches = list(pack(rows))

    assert [row for packed in batches for row in packed.rows] == rows
    for packed in batches:
        assert len({row.epoch for row in packed.rows}) == 1
        seen = {each.seq: each for each in samples_of(Batch.FromString(packed.payload))}
        assert set(seen) == {row.key.seq for row in packed.rows}
        for row in packed.rows:
            sample = seen[row.key.seq]
            assert (sample.epoch, sample.asset, sample.ts_us) == (row.epoch, row.asset, row.ts_us)
            assert sample.quality == row.quality
            assert sorted(sample.values.values()) == sorted(row.values.values())


def test_a_batch_stays_below_the_limit_however_wide_its_rows_are() -> None:
    wide: dict[int | str, float] = {f"metric_{n:057d}": float(n) for n in range(150)}
    rows = [Row(Key(1, seq), 7, f"asset-{seq}", seq, 0, wide) for seq in range(1, 200)]

    sizes = [len(packed.payload) for packed in pack(rows)]

    assert max(sizes) <= MAX_BATCH_BYTES
    assert len(sizes) > 10


def test_a_usual_backlog_fills_its_batches() -> None:
    rows = [Row(Key(1, seq), 7, "bess-1", seq, 0, dict.fromkeys(range(1, 20), 1.0)) for seq in range(1, 2001)]

    packed = list(pack(rows))

    assert len(packed) <= 6
    assert max(len(each.payload) for each in packed) > 50_000
