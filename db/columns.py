"""SQL that lists the canonical quantities, generated from `overwatt.quantities`.

Migration files hold it written out, between `-- columns: <block>` and `-- end` lines, so that each file runs
alone with psql. `python -m db.columns` writes the blocks anew while a file is not released; a quantity that
is added later is a new migration. Tests hold the files against this module.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from db.files import DIRECTORY
from overwatt.quantities import QUANTITIES, Kind, Quantity

_BLOCK: Final = re.compile(
    r"(?P<head>[ ]*-- columns: (?P<name>\w+)\n)(?P<body>.*?)(?P<tail>[ ]*-- end\n)", re.DOTALL
)

COUNTERS: Final = tuple(q for q in QUANTITIES if q.kind is Kind.COUNTER)
PARTS: Final = {
    Kind.GAUGE: ("sum", "n", "min", "max", "last"),
    Kind.COUNTER: ("first", "last"),
    Kind.STATE: ("last",),
}
"""What a rollup keeps of each kind. Never an average: from sum and count every level above is exact."""


def rollup_columns() -> list[str]:
    """Columns of a rollup behind (device_key, bucket, n)."""
    return [f"{q.name}_{part}" for q in QUANTITIES for part in PARTS[q.kind]]


def _telemetry_table() -> list[str]:
    return [f"  {q.name} double precision," for q in QUANTITIES]


def _rollup_table() -> list[str]:
    types = {"n": "bigint"}
    return [
        f"  {q.name}_{part} {types.get(part, 'double precision')},"
        for q in QUANTITIES
        for part in PARTS[q.kind]
    ]


def _select(expression: Callable[[Quantity, str], str]) -> list[str]:
    """One line a quantity; the last one without its comma."""
    lines = [
        "  " + ", ".join(f"{expression(q, part)} as {q.name}_{part}" for part in PARTS[q.kind]) + ","
        for q in QUANTITIES
    ]
    lines[-1] = lines[-1].removesuffix(",")
    return lines


def _plain_end(part: str, column: str, order: str) -> str:
    # The newest value that is not null without a sort for each column: arrays compare by time first.
    pick = "max" if part == "last" else "min"
    return f"({pick}(array[{order}, {column}]) filter (where {column} is not null))[2]"


def _plain_from_raw(q: Quantity, part: str) -> str:
    if part in ("first", "last"):
        return _plain_end(part, f"t.{q.name}", "t.at")
    return f"{'count' if part == 'n' else part}(t.{q.name})"


def _plain_from_rollup(q: Quantity, part: str) -> str:
    column = f"t.{q.name}_{part}"
    if part in ("first", "last"):
        return _plain_end(part, column, "t.at")
    return f"sum({column})::bigint" if part == "n" else f"{part}({column})"


def _plain_sums(column: str) -> Callable[[Quantity], str]:
    """What can be added up, and of the others how many there are; `column` ends a rollup's names."""

    def sums(q: Quantity) -> str:
        if q.kind is not Kind.GAUGE:
            return f"count(t.{q.name}{column}) as {q.name}_n"
        from_rollup = {"sum": "_sum", "n": "_n", "min": "_min", "max": "_max"} if column else {}
        return ", ".join(
            f"{_plain_sum(part, f't.{q.name}' + from_rollup.get(part, ''), bool(column))} as {q.name}_{part}"
            for part in ("sum", "n", "min", "max")
        )

    return sums


def _plain_sum(part: str, column: str, is_rollup: bool) -> str:
    if part == "n":
        return f"sum({column})::bigint" if is_rollup else f"count({column})"
    return f"{part}({column})"


def _plain_picked(suffixed: bool) -> Callable[[Quantity], str]:
    """From sums `a`, the first row `f` and the last row `l` of a bucket."""

    def picked(q: Quantity) -> str:
        rows = {"first": "f", "last": "l"}
        return ", ".join(
            f"{rows[part]}.{q.name}" + (f"_{part}" if suffixed else "")
            if part in rows
            else f"a.{q.name}_{part}"
            for part in PARTS[q.kind]
        )

    return picked


def _lines(expression: Callable[[Quantity], str], between: str = ",") -> list[str]:
    """One line a quantity, joined."""
    return [f"  {expression(q)}{between}" for q in QUANTITIES[:-1]] + [f"  {expression(QUANTITIES[-1])}"]


def _timescale_from_raw(q: Quantity, part: str) -> str:
    if part in ("first", "last"):
        return f"{part}({q.name}, ts) filter (where {q.name} is not null)"
    return f"{'count' if part == 'n' else part}({q.name})"


def _timescale_from_rollup(q: Quantity, part: str) -> str:
    column = f"{q.name}_{part}"
    if part in ("first", "last"):
        return f"{part}({column}, bucket) filter (where {column} is not null)"
    return f"sum({column})::bigint" if part == "n" else f"{part}({column})"


BLOCKS: Final[dict[str, Callable[[], list[str]]]] = {
    "telemetry_table": _telemetry_table,
    "rollup_table": _rollup_table,
    "plain_from_raw": lambda: _select(_plain_from_raw),
    "plain_from_rollup": lambda: _select(_plain_from_rollup),
    "plain_sums_of_raw": lambda: _lines(_plain_sums("")),
    "plain_sums_of_rollup": lambda: _lines(_plain_sums("_last")),
    "plain_is_even_raw": lambda: _lines(lambda q: f"count(t.{q.name}) in (0, count(*))", " and"),
    "plain_is_even_rollup": lambda: _lines(lambda q: f"count(t.{q.name}_last) in (0, count(*))", " and"),
    "plain_picked_of_raw": lambda: _lines(_plain_picked(suffixed=False)),
    "plain_picked_of_rollup": lambda: _lines(_plain_picked(suffixed=True)),
    "rollup_has_counter": lambda: ["        " + " or ".join(f"{q.name}_last is not null" for q in COUNTERS)],
    "timescale_from_raw": lambda: _select(_timescale_from_raw),
    "timescale_from_rollup": lambda: _select(_timescale_from_rollup),
    "view_columns": lambda: [f"  t.{q.name}," for q in QUANTITIES],
    "view_rollup_columns": lambda: [
        "  " + " ".join(f"t.{q.name}_{part}," for part in PARTS[q.kind]) for q in QUANTITIES
    ],
    "wide_metric": lambda: (
        [f"  ({q.number}, '{q.name}')," for q in QUANTITIES[:-1]]
        + [f"  ({QUANTITIES[-1].number}, '{QUANTITIES[-1].name}')"]
    ),
    "metric_case": lambda: [f"    when {q.number} then t.{q.name}" for q in QUANTITIES],
    "counter_values": lambda: (
        [f"      ('{q.name}', t.{q.name})," for q in COUNTERS[:-1]]
        + [f"      ('{COUNTERS[-1].name}', t.{COUNTERS[-1].name})"]
    ),
}


def with_columns(sql: str) -> str:
    """The text with each of its blocks written anew."""
    return _BLOCK.sub(
        lambda block: (
            block["head"] + "".join(f"{line}\n" for line in BLOCKS[block["name"]]()) + block["tail"]
        ),
        sql,
    )


def main(directory: Path = DIRECTORY) -> None:
    """Write the blocks of every migration file."""
    for path in sorted(directory.glob("*.sql")):
        sql = path.read_text()
        if with_columns(sql) != sql:
            path.write_text(with_columns(sql))
            print(f"Wrote {path.name}")


if __name__ == "__main__":
    main()
