"""One zip with everything that we hold about a person, written while it is being read."""

import csv
import io
import json
import zipfile
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final

from services.api.account_data.fields import PER_DEVICE, TABLES, Table
from services.api.database import tenant_transaction
from services.runtime.personal import open_rows
from services.runtime.postgres import Connection, Pool

ROWS_AT_ONCE: Final = 2000

README: Final = """\
What we hold about you, as of {now}.

Files ending in .jsonl have one JSON object on each line, those ending in .csv have a head and are separated
by commas. All times are UTC. Power is positive on discharge or generation, and on import from the grid.
fields.json says the same as this page, for programs.
"""

HAS_ACCOUNT: Final = 'select exists (select from "user" where tenant_id = $1 and user_id::text = $2)'
BOXES: Final = "select box_id from box where tenant_id = $1 and user_id::text = $2 order by box_id"
DEVICES: Final = "select device_id from device where tenant_id = $1 and box_id = any($2) order by device_id"


class _Sink(io.RawIOBase):
    """What a zip file writes into; taken out in between, so that no archive is ever held as a whole."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


async def is_somebody(pool: Pool, tenant: str, user: str) -> bool:
    """Whether there is an account to tell about."""
    async with tenant_transaction(pool, tenant) as db:
        return bool(await db.fetchval(HAS_ACCOUNT, tenant, user))


async def archive(pool: Pool, tenant: str, user: str, now: datetime) -> AsyncIterator[bytes]:
    """The bytes of the zip."""
    sink = _Sink()
    async with tenant_transaction(pool, tenant) as db:
        boxes = [row["box_id"] for row in await db.fetch(BOXES, tenant, user)]
        devices = [row["device_id"] for row in await db.fetch(DEVICES, tenant, boxes)]
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("README.txt", readme(now))
            file.writestr("fields.json", json.dumps(described(), indent=2, ensure_ascii=False))
            for table in TABLES:
                found = await db.fetch(table.query, tenant, user, boxes, devices)
                lines = [_line(row) for row in await open_rows(db, [dict(row) for row in found])]
                file.writestr(f"{table.name}.jsonl", "".join(lines))
                yield sink.take()
            for table in PER_DEVICE:
                with file.open(f"{table.name}.csv", "w", force_zip64=True) as part:
                    part.write(_csv([list(table.fields)]))
                    async for rows in _read(db, table, tenant, devices):
                        part.write(_csv(rows))
                        yield sink.take()
    yield sink.take()


def readme(now: datetime) -> str:
    """For people."""
    parts = [README.format(now=now.isoformat(timespec="seconds"))]
    for name, table in described().items():
        fields = "".join(f"  {field}: {meaning}\n" for field, meaning in table["fields"].items())
        parts.append(f"\n{name}: {table['about']}\n{fields}")
    return "".join(parts)


def described() -> dict[str, dict[str, Any]]:
    """Every file with every field."""
    kinds = ((TABLES, "jsonl"), (PER_DEVICE, "csv"))
    return {
        f"{table.name}.{ending}": {"about": table.about, "fields": table.fields}
        for tables, ending in kinds
        for table in tables
    }


async def _read(
    db: Connection, table: Table, tenant: str, devices: Sequence[str]
) -> AsyncIterator[list[list[object]]]:
    for device in devices:
        cursor = await db.cursor(table.query, tenant, device, [], [])
        while rows := await cursor.fetch(ROWS_AT_ONCE):
            yield [[_plain(value) for value in row.values()] for row in rows]


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _line(row: dict[str, Any]) -> str:
    values = {name: _json(value) for name, value in row.items()}
    return json.dumps(values, default=_plain, ensure_ascii=False) + "\n"


def _json(value: object) -> object:
    # jsonb comes as text.
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return value.hex()
    return value if value is None or isinstance(value, int | float | str) else str(value)
