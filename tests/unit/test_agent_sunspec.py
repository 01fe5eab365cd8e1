"""SunSpec's registers, without a device."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.drivers.sunspec import codec, controls, generate
from edge_agent.drivers.sunspec.codec import Name, Span
from edge_agent.drivers.sunspec.points import MODELS, SOURCES, Point, wanted
from edge_agent.errors import Invalid
from overwatt.quantities import BY_NAME

SENTINELS = {
    "int16": [0x8000], "uint16": [0xFFFF], "enum16": [0xFFFF], "bitfield16": [0xFFFF], "sunssf": [0x8000],
    "int32": [0x8000, 0], "uint32": [0xFFFF, 0xFFFF], "bitfield32": [0xFFFF, 0xFFFF],
    "int64": [0x8000, 0, 0, 0], "uint64": [0xFFFF] * 4, "acc32": [0, 0], "acc64": [0, 0, 0, 0],
    "float32": [0x7FC0, 0], "float64": [0x7FF8, 0, 0, 0],
}  # fmt: skip


def test_the_register_maps_are_what_pysunspec2_ships() -> None:
    assert generate.TARGET.read_text(encoding="utf-8") == generate.render()


def test_offsets_are_those_of_the_specification() -> None:
    where = {(m, n): MODELS[m][n].offset for m, n in ((701, "W"), (701, "W_SF"), (704, "WSet"), (802, "SoC"))}

    assert where == {(701, "W"): 10, (701, "W_SF"): 116, (704, "WSet"): 24, (802, "SoC"): 11}


def test_every_source_is_a_point_and_every_quantity_is_ours() -> None:
    assert set(SOURCES) <= set(BY_NAME)
    for sources in SOURCES.values():
        for source in sources:
            assert all(name in MODELS[source.model] for name in source.names)


@pytest.mark.parametrize("kind", SENTINELS)
def test_not_implemented_is_absent_and_never_a_number(kind: str) -> None:
    assert codec.decode(SENTINELS[kind], kind) is None


@given(st.sampled_from(["int16", "uint16", "int32", "uint32", "acc32", "int64", "uint64"]), st.data())
def test_a_number_reads_back_as_it_was_written(kind: str, data: st.DataObject) -> None:
    bits = int("".join(filter(str.isdigit, kind)))
    signed = kind.startswith("int")
    value = data.draw(st.integers(-(2 ** (bits - 1)) + 1 if signed else 1, 2 ** (bits - signed) - 2))
    value = max(min(value, 2**53), -(2**53))  # values travel as doubles

    assert codec.decode(codec.encode(Point(1, "x", 0, bits // 16, kind, None), value), kind) == value


@given(st.floats(-1e6, 1e6), st.integers(-3, 3))
def test_a_scaled_value_reads_back_within_half_a_step(value: float, factor: int) -> None:
    point = MODELS[704]["WSet"]

    raw = codec.decode(codec.encode(point, value, factor), point.type)

    assert raw is not None
    assert abs(raw * 10.0**factor - value) <= 0.5 * 10.0**factor + 1e-9


def test_a_value_that_does_not_fit_is_refused_and_the_sentinel_is_never_written() -> None:
    with pytest.raises(Invalid, match="model 124 point OutWRte: 40000 does not fit into int16"):
        codec.encode(MODELS[124]["OutWRte"], 40000)
    with pytest.raises(Invalid):
        codec.encode(MODELS[124]["OutWRte"], -32768)


def read_701(**raw: int) -> dict[Name, float]:
    image = [0x8000] * 155
    for name, value in raw.items():
        image[MODELS[701][name].offset] = value & 0xFFFF
    points = [MODELS[701]["W"], MODELS[701]["VA"]]
    return codec.values_of(points, {701: 40070}, {Span(40070, 155): image})


def test_a_value_without_a_usable_scale_factor_is_absent() -> None:
    assert read_701(W=-7, W_SF=2) == {Name(701, "W"): -700.0}
    assert read_701(W=-7) == {}
    assert read_701(W=-7, W_SF=11) == {}


def test_a_value_and_its_scale_factor_come_in_the_same_request() -> None:
    """A device may change its factors between two requests."""
    bases = {1: 40002, 120: 40070, 124: 40098, 701: 40124, 702: 40279, 704: 40331, 713: 40398, 802: 40407}
    points = wanted(bases)

    spans = codec.spans(points, bases)

    assert len(spans) <= 4
    assert all(span.length <= codec.MOST_REGISTERS for span in spans)
    for point in points:
        scale = [MODELS[point.model][point.scale].offset] if isinstance(point.scale, str) else []
        needed = [
            bases[point.model] + offset for offset in (point.offset, point.offset + point.size - 1, *scale)
        ]
        assert any(all(s.address <= at < s.address + s.length for at in needed) for s in spans), point


def test_the_first_source_that_holds_a_value_wins() -> None:
    assert codec.quantities({Name(713, "SoC"): 40.0, Name(802, "SoC"): 41.0})["soc_pct"] == 40
    assert codec.quantities({Name(802, "SoC"): 41.0})["soc_pct"] == 41
    assert "soc_pct" not in codec.quantities({Name(701, "W"): 1.0})


def test_units_and_states_are_brought_to_ours() -> None:
    values = {Name(103, "PF"): 97.0, Name(103, "PhVphA"): 229.0, Name(103, "PhVphB"): 231.0}

    found = codec.quantities(values | {Name(701, "InvSt"): 3.0})

    assert found == {"power_factor": 0.97, "voltage_v": 230.0, "operating_state": 4.0}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({(704, "WSetEna"): 1, (704, "WSetMod"): 1, (704, "WSet"): -5e6}, (1, -5e6)),
        ({(704, "WSetEna"): 1, (704, "WSetMod"): 0, (704, "WSetPct"): 50, (702, "WMax"): 1000}, (1, 500)),
        ({(704, "WSetEna"): 0, (704, "WSet"): 5e6}, (0, None)),
        ({(124, "StorCtl_Mod"): 3, (124, "OutWRte"): -20, (124, "WChaMax"): 1000}, (1, -200)),
        ({(123, "WMaxLim_Ena"): 1, (123, "WMaxLimPct"): 30, (120, "WRtg"): 5000}, (1, 1500)),
    ],
)
def test_what_the_device_was_told_is_read_from_its_controls(
    values: dict[tuple[int, str], float], told: tuple[float, float | None]
) -> None:
    found = codec.quantities({Name(*name): value for name, value in values.items()})

    assert (found["control_mode"], found.get("power_setpoint_w")) == told


def points_of(writes: list[controls.Write]) -> list[tuple[int, str]]:
    names = {(p.model, p.offset): p.name for points in MODELS.values() for p in points.values()}
    return [(write.model, names[write.model, write.offset]) for write in writes]


def test_the_revert_timer_is_written_first_and_the_enable_last() -> None:
    values = {Name(704, "WSet"): 0.0}

    writes = controls.follow({704: 0}, values, {Name(704, "WSet"): 0}, power_w=-5e6, revert_s=60)

    assert points_of(writes) == [(704, "WSetEnaRvrt"), (704, "WSetMod"), (704, "WSetEna")]
    assert writes[0].registers == (0, 0, 60)
    assert struct.unpack(">i", struct.pack(">2H", *writes[1].registers[1:])) == (-5_000_000,)


@pytest.mark.parametrize(("power_w", "rates"), [(500.0, (2500, -5000)), (-500.0, (-2500, 5000))])
def test_without_704_both_limits_of_124_meet_at_the_power(power_w: float, rates: tuple[int, int]) -> None:
    """Percentages are of WDisChaMax out and of WChaMax in."""
    values = {Name(124, "WChaMax"): 1000.0, Name(120, "MaxDisChaRte"): 2000.0}

    writes = controls.follow(
        {124: 0, 120: 0}, values, {Name(124, "OutWRte"): -2}, power_w=power_w, revert_s=60
    )

    assert points_of(writes) == [(124, "InOutWRte_RvrtTms"), (124, "OutWRte"), (124, "StorCtl_Mod")]
    assert tuple(codec.decode([register], "int16") for register in writes[1].registers) == rates
    assert writes[2].registers == (3,)


def test_pv_is_limited_in_per_cent_of_its_rating() -> None:
    writes = controls.follow(
        {123: 0, 120: 0},
        {Name(120, "WRtg"): 5000.0},
        {Name(123, "WMaxLimPct"): -1},
        power_w=1000,
        revert_s=60,
    )

    assert points_of(writes) == [(123, "WMaxLimPct_RvrtTms"), (123, "WMaxLimPct"), (123, "WMaxLim_Ena")]
    assert writes[1].registers == (200,)


def test_letting_go_touches_only_the_control_that_was_used() -> None:
    both = {704: 0, 124: 0}

    assert points_of(controls.let_go(both, {Name(704, "WSet"): 0.0})) == [(704, "WSetEna")]
    assert controls.let_go({203: 0}, {}) == []


def test_a_device_without_controls_says_so() -> None:
    with pytest.raises(Invalid, match="no usable control"):
        controls.follow({203: 0}, {}, {}, power_w=1, revert_s=60)
