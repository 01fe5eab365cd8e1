"""The migration files as they lie in this package: name, text, checksum, what they require."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).parent / "migrations"
REQUIREMENTS: Final = frozenset({"plain", "timescaledb", "timescaledb-tsl"})
_NAME: Final = re.compile(r"\d{3}_[a-z0-9_]+\.sql")
_MARKER: Final = re.compile(r"-- requires: (\S+)\n")


class BadMigration(Exception):
    """The files themselves are wrong."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    name: str
    sql: str
    requires: str | None
    """what the server must be able to do, None for any server"""

    @property
    def checksum(self) -> str:
        """Of the text, to notice that an applied file was changed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_migrations(directory: Path = DIRECTORY) -> tuple[Migration, ...]:
    """All files in the order in which they apply."""
    return in_order(migration(path.name, path.read_text()) for path in directory.glob("*.sql"))


def migration(name: str, sql: str) -> Migration:
    """A file with the marker of its first line understood."""
    marker = _MARKER.match(sql)
    if marker and marker[1] not in REQUIREMENTS:
        raise BadMigration(f"{name}: requires {marker[1]!r}, must be one of {sorted(REQUIREMENTS)}")
    return Migration(name, sql, marker[1] if marker else None)


def in_order(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """Sorted; refuses a gap, a repeated number or a name that is not NNN_name.sql."""
    ordered = tuple(sorted(migrations, key=lambda migration: migration.name))
    for number, each in enumerate(ordered):
        if not _NAME.fullmatch(each.name):
            raise BadMigration(f"{each.name}: must be named NNN_name.sql, lower case")
        if int(each.name[:3]) != number:
            raise BadMigration(f"{each.name}: the next number is {number:03d}, without gaps or repetitions")
    return ordered
