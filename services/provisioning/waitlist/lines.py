"""The waitlist as JSON lines, one entry a line (H-017)."""

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from services.provisioning.waitlist.schemas import Line
from services.runtime.errors import Invalid

MEDIA_TYPE: Final = "application/x-ndjson"


def written(row: Mapping[str, Any]) -> str:
    """An entry as a line."""
    kept = {name: value for name, value in row.items() if value is not None and name != "tenant_id"}
    return json.dumps(
        kept, default=lambda each: each.isoformat() if hasattr(each, "isoformat") else str(each)
    )


def read(text: bytes) -> list[Line]:
    """The lines of a file; raises Invalid with the number of the first that is wrong."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append(Line.model_validate_json(line))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, problem["loc"])) or "the line"
            raise Invalid(f"line {number}: {place}: {problem['msg']}") from None
    return found
