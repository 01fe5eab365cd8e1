"""SunSpec images: layout, scale factors, sentinels, writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.fleet.registers import IllegalAddress, IllegalValue, RegisterMap, scale_for


def a_storage_map() -> RegisterMap:
    registers = RegisterMap((1, 701, 704))
    registers.put(704, WSet_SF=0, WSet=0, WSetEna=0, WSetMod=1, WSetRvrtTms=0)
    registers.allow_writes(704, "WSetEna", "WSetMod", "WSet", "WSetRvrtTms")
    return registers


def test_models_follow_the_marker_one_after_the_other_up_to_the_end() -> None:
    registers = a_storage_map()

    assert registers.image[:4] == [0x5375, 0x6E53, 1, 66]
    assert registers.points[701, "ID"].address == 40000 + 2 + 68
    # Offsets within a model as SunSpec prints them.
    assert registers.points[701, "W"].address - registers.points[701, "ID"].address == 10
    assert registers.points[704, "WSet"].address - registers.points[704, "ID"].address == 24
    assert registers.image[-2:] == [0xFFFF, 0]


def test_what_nobody_filled_is_not_implemented() -> None:
    registers = a_storage_map()

    assert registers.value(701, "W") is None
    start = registers.points[701, "W"].address - registers.base
    assert registers.image[start] == 0x8000


@given(st.floats(1.0, 1e9))
def test_every_power_fits_with_its_scale_factor_and_keeps_four_digits(power_w: float) -> None:
    registers = a_storage_map()
    scale = scale_for(power_w)

    registers.put(701, W_SF=scale, W=power_w, WL1=-power_w)

    assert registers.value(701, "W") == pytest.approx(power_w, abs=10**scale / 2)
    assert registers.value(701, "WL1") == pytest.approx(-power_w, abs=10**scale / 2)
    assert scale == 0 or 10**scale <= power_w / 2600


def test_sixty_megawatts_count_in_steps_of_ten_kilowatts() -> None:
    assert scale_for(60e6) == 4
    assert scale_for(5_000) == 0


def test_a_value_that_does_not_fit_is_not_implemented_rather_than_wrong() -> None:
    registers = a_storage_map()

    registers.put(701, W_SF=0, W=60e6)

    assert registers.value(701, "W") is None


def test_a_new_scale_factor_counts_for_the_values_that_are_put_with_it() -> None:
    registers = a_storage_map()
    registers.put(701, W_SF=0, W=1200)

    registers.put(701, W=1200, W_SF=2)

    start = registers.points[701, "W"].address - registers.base
    assert registers.image[start] == 12
    assert registers.value(701, "W") == 1200


def test_an_accumulator_rolls_over() -> None:
    registers = RegisterMap((1, 203))

    registers.put(203, TotWh_SF=0, TotWhImp=2**32 + 7)

    assert registers.value(203, "TotWhImp") == 7


def test_a_write_says_which_points_it_touched() -> None:
    registers = a_storage_map()
    address = registers.points[704, "WSetEna"].address

    points = registers.write(address, [1, 1, 0xFF48, 0xE500])

    assert points == {(704, "WSetEna"), (704, "WSetMod"), (704, "WSet")}
    assert registers.value(704, "WSet") == -12_000_000


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("W", [5]),
        ("WSet", [0]),
        ("WSet", [0, 1, 0, 0]),
        ("WMaxLimPct", [50]),
    ],
    ids=["read only", "half a point", "runs into a point that is not open", "not open"],
)
def test_a_write_to_anything_else_is_refused_as_a_whole(name: str, values: list[int]) -> None:
    registers = a_storage_map()
    before = list(registers.image)
    model = 701 if name == "W" else 704

    with pytest.raises(IllegalAddress):
        registers.write(registers.points[model, name].address, values)

    assert registers.image == before


def test_a_write_of_an_unknown_enumeration_value_is_refused_as_a_whole() -> None:
    registers = a_storage_map()
    before = list(registers.image)

    with pytest.raises(IllegalValue):
        registers.write(registers.points[704, "WSetEna"].address, [1, 7])

    assert registers.image == before


def test_a_point_that_the_model_does_not_let_anybody_write_cannot_be_opened() -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        a_storage_map().allow_writes(701, "W")
