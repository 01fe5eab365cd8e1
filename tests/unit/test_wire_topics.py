"""Identities and topic names: what may be said, and that nothing else is understood."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.quantities import COLUMNS, QUANTITIES, Kind
from overwatt.reasons import LATER, RETRY_AFTER_S
from overwatt.topics import Address, is_device, parse, partition_of, topic


def test_a_topic_reads_back_as_it_was_built() -> None:  # P-033, P-069
    assert topic("tenant-a", "sensor-001", "telemetry") == "devices/tenant-a/sensor-001/telemetry"
    assert parse("devices/tenant-a/sensor-001/telemetry") == Address("tenant-a", "sensor-001", "telemetry")


@pytest.mark.parametrize(
    "name",
    [
        "devices/tenant-a/sensor-001",
        "devices/tenant-a/sensor-001/telemetry/x",
        "devices/+/sensor-001/telemetry",
        "devices/tenant-a/#/telemetry",
        "devices/Tenant/sensor-001/telemetry",
        "devices//sensor-001/telemetry",
        "devices/tenant-a/sensor-001/other",
        "$SYS/broker/uptime/x",
        "devices/tenant-a/sens\u00f6r/telemetry",
        "devices/tenant-a/sensor\n/telemetry",
    ],
)
def test_any_other_name_is_not_a_device_topic(name: str) -> None:  # P-069
    assert parse(name) is None


@given(st.text(max_size=70))
def test_a_device_name_never_holds_what_a_broker_or_path_would_interpret(text: str) -> None:
    if is_device(text):
        assert not set(text) & set("+#$/ \x00\n")
        assert 1 <= len(text) <= 36


def test_a_wrong_name_cannot_be_built_and_the_error_says_what_is_right() -> None:
    with pytest.raises(ValueError, match="device 'a/b' must match"):
        topic("tenant-a", "a/b", "cmd")


def test_a_device_stays_in_one_partition_in_every_process() -> None:
    # Known answers: a change here would reorder every device's stream.
    assert partition_of("tenant-a", "sensor-001", 4) == 2
    assert partition_of("default", "site-a", 4) == 1
    spread = {partition_of("default", f"device-{number}", 4) for number in range(100)}
    assert spread == {0, 1, 2, 3}


def test_quantities_are_numbered_and_named_once_and_carry_their_unit() -> None:  # X25
    assert len({quantity.number for quantity in QUANTITIES}) == len(QUANTITIES) == len(set(COLUMNS))
    suffix = {
        "W": "_w",
        "Wh": "_wh",
        "%": "_pct",
        "V": "_v",
        "A": "_a",
        "Hz": "_hz",
        "var": "_var",
        "°C": "_c",
    }
    for quantity in QUANTITIES:
        assert quantity.name.endswith(suffix.get(quantity.unit, "")), quantity
    assert {quantity.name for quantity in QUANTITIES if quantity.kind is Kind.COUNTER} == {
        "energy_import_wh",
        "energy_export_wh",
        "charge_cycles",
    }


def test_every_later_reason_says_when_to_try_again() -> None:
    assert set(RETRY_AFTER_S) == LATER
