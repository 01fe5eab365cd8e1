"""The migration files, without a database."""

import re
from pathlib import Path

import pytest

from db.columns import rollup_columns, with_columns
from db.files import BadMigration, in_order, migration, read_migrations
from db.passwords import matches, scram_verifier
from overwatt.quantities import COLUMNS, QUANTITIES, Kind

PROJECT_MAP = Path(__file__).parents[2] / "docs" / "PROJECT_MAP.md"


def test_migrations_are_numbered_from_000_without_gaps() -> None:
    # P-008
    names = [each.name for each in read_migrations()]

    assert [int(name[:3]) for name in names] == list(range(len(names)))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["000_a.sql", "002_b.sql"], "the next number is 001"),
        (["000_a.sql", "000_b.sql"], "the next number is 001"),
        (["001_a.sql"], "the next number is 000"),
        (["000-a.sql"], "must be named NNN_name.sql"),
        (["0_a.sql"], "must be named NNN_name.sql"),
    ],
)
def test_a_gap_a_repetition_or_a_wrong_name_is_refused(names: list[str], problem: str) -> None:
    with pytest.raises(BadMigration, match=problem):
        in_order(migration(name, "") for name in names)


def test_a_requirement_that_nobody_knows_is_refused() -> None:
    with pytest.raises(BadMigration, match="requires 'oracle', must be one of"):
        migration("000_a.sql", "-- requires: oracle\nselect 1;")


def test_the_project_map_names_every_migration() -> None:
    # P-014
    index = PROJECT_MAP.read_text().partition("## Migration Index")[2]

    assert [each.name for each in read_migrations() if f"`{each.name}`" not in index] == []


def test_the_columns_in_the_files_are_those_of_the_wire_contract() -> None:
    outdated = [each.name for each in read_migrations() if with_columns(each.sql) != each.sql]

    assert outdated == [], "run `python -m db.columns`"


@pytest.mark.parametrize("name", ["008_telemetry_plain.sql", "009_telemetry_timescaledb.sql"])
def test_telemetry_has_exactly_the_canonical_columns_in_their_order(name: str) -> None:
    sql = next(each.sql for each in read_migrations() if each.name == name)
    table = re.search(r"create table if not exists telemetry \((.*?)\n\)", sql, re.DOTALL)
    assert table

    columns = re.findall(r"^  (\w+) ", table[1], re.MULTILINE)

    assert columns == ["device_key", "ts", *COLUMNS, "quality"]


def test_a_rollup_never_keeps_an_average() -> None:
    gauges = sum(quantity.kind is Kind.GAUGE for quantity in QUANTITIES)

    assert not [column for column in rollup_columns() if column.endswith(("_avg", "_mean"))]
    assert len(rollup_columns()) == gauges * 5 + 3 * 2 + 3 * 1


def test_only_files_of_their_own_speak_timescaledb() -> None:
    # X24
    calls = re.compile(r"create_hypertable|time_bucket|add_\w+_policy\(|timescaledb\.", re.IGNORECASE)

    unmarked = [each.name for each in read_migrations() if calls.search(each.sql) and not each.requires]

    assert unmarked == []


def test_no_migration_purges_alerts_or_the_audit_log() -> None:
    # P-056, P-057
    purge = re.compile(r"(delete\s+from|truncate)\s+(public\.)?(alerts|admin_audit_log)\b", re.IGNORECASE)

    assert [each.name for each in read_migrations() if purge.search(each.sql)] == []


def test_no_migration_holds_a_password() -> None:
    assert [
        each.name for each in read_migrations() if re.search(r"password\s+'", each.sql, re.IGNORECASE)
    ] == []


def test_a_password_verifier_is_the_one_of_rfc_7677() -> None:
    salt = b"[m\x99h\x9d\x12\x35\x8e\xec\xa0K\x14\x126\xfa\x81"

    assert scram_verifier("pencil", salt).endswith(
        "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


def test_a_verifier_matches_its_password_and_no_other() -> None:
    verifier = scram_verifier("right", b"0123456789abcdef")

    assert matches(verifier, "right")
    assert not matches(verifier, "wrong")
    assert not matches(None, "right")
    assert not matches("md5b7c0d0d5e0fcb52ffcb16f6cb66d39d1", "right")
