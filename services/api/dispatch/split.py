"""Which split is told: the agent's, which is the one of record, or until it has spoken the controller's."""

from collections.abc import Mapping
from typing import Any


def told_split(preview: Mapping[str, Any] | None, result: Mapping[str, Any] | None) -> dict[str, Any]:
    """The split's fields; without any, no asset has a share."""
    by, split = ("agent", result) if result and result.get("allocations") else ("controller", preview)
    if not split:
        return {"split_by": None, "allocations": []}
    return {
        "split_by": by,
        "allocations": split.get("allocations") or [],
        "unplaced_mw": split.get("unplaced_mw") or 0.0,
        "unplaced_why": split.get("unplaced_why") or "",
    }
