"""The text of a `.env`: `NAME=value` lines as Compose reads them. Nothing here touches the disk."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from services.runtime.errors import Invalid

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_LINE: Final = re.compile(r"([A-Za-z][A-Za-z0-9_]*)=(.*)")
_BARE: Final = re.compile(r"[A-Za-z0-9_./:@+=,-]*")


def parse(text: str) -> dict[str, str]:
    """The values by name; comments and other lines are left out."""
    found = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {line[1]: _unquoted(line[2]) for line in found if line}


def merged(text: str, wanted: Mapping[str, str]) -> str:
    """The text with these values: in place where a name stands already, else below. The rest stays."""
    rest = dict(wanted)
    kept = []
    for line in text.splitlines():
        found = _LINE.fullmatch(line.strip())
        kept.append(_line(found[1], rest.pop(found[1])) if found and found[1] in rest else line)
    return "\n".join([*kept, *(_line(name, value) for name, value in rest.items()), ""])


def secret_values(sources: Iterable[Mapping[str, str]], names: Iterable[str]) -> dict[str, str]:
    """The named values that are there and not empty, from the first source that has each."""
    found = ((name, next((each[name] for each in sources if each.get(name)), "")) for name in names)
    return {name: value for name, value in found if value}


def _line(name: str, value: str) -> str:
    if not value.isprintable() or "'" in value:
        raise Invalid(f"{name}: its value must be one line of printable characters without '")
    # Compose would replace $NAME and cut at # in a value that is not quoted.
    return f"{name}={value}" if _BARE.fullmatch(value) else f"{name}='{value}'"


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value
