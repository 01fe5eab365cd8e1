"""What a command says: to a person as lines, to a program as JSON, to a shell as an exit code."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.provisioning.model import Taken, Unknown
from services.provisioning.tenant_setup.schemas import Check
from services.runtime.errors import Invalid, Unavailable

DONE: Final = 0
NOT_GOOD: Final = 1
WRONG: Final = 2
UNKNOWN: Final = 3
TAKEN: Final = 4
AGAIN_LATER: Final = 5


class NotYet(Exception):
    """Everything is understood, and something has to be done or decided first."""


@dataclass(frozen=True, slots=True)
class Said:
    """An outcome: `data` for programs, `text` for people."""

    data: Any
    text: str
    exit_code: int = DONE

    def __str__(self) -> str:
        return self.text

    def as_json(self) -> str:
        """One document."""
        return json.dumps(self.data, indent=2, default=str)


def exit_code_of(error: Exception) -> int | None:
    """The exit code that stands for a failure; None for a bug."""
    for kind, code in (
        (Unknown, UNKNOWN),
        (Taken, TAKEN),
        (Invalid, WRONG),
        (Unavailable, AGAIN_LATER),
        (NotYet, NOT_GOOD),
    ):
        if isinstance(error, kind):
            return code
    return None


def lines(values: dict[str, Any]) -> str:
    """`name  value` per line; what is empty is a dash."""
    width = max(map(len, values))
    return "\n".join(f"{name:{width}}  {_plain(value)}" for name, value in values.items())


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns below their heads."""
    cells = [list(heads), *([_plain(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def of_checks(tenant: str, checks: Sequence[Check]) -> Said:
    """A table of checks; exit code 1 when one of them failed."""
    failed = [check.name for check in checks if check.result == "failed"]
    data = {"tenant_id": tenant, "ok": not failed, "checks": [check.model_dump() for check in checks]}
    rows = [(check.name, check.result, check.detail) for check in checks]
    return Said(data, table(("CHECK", "RESULT", "DETAIL"), rows), NOT_GOOD if failed else DONE)


def _plain(value: Any) -> str:
    if value is None or value == [] or value == "":
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
