"""What the routes of all nouns have in common: failures that become answers, and what a PATCH changes."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel

from services.provisioning.model import Unknown
from services.runtime.web import Refusal


@contextmanager
def named_in_body() -> Iterator[None]:
    """A name that does not exist is 404 in the path, and 422 with its field in the body."""
    try:
        yield
    except Unknown as error:
        raise Refusal(422, str(error), field=error.field) from error


def changed(
    before: Mapping[str, Any], asked: BaseModel, personal: Collection[str]
) -> tuple[dict[str, Any], dict[str, object]]:
    """What a PATCH really changes, and what the audit log says of it.

    Of `personal` fields it says that they changed, and neither from what nor to what.
    """
    change = {
        name: value
        for name, value in asked.model_dump(exclude_unset=True).items()
        if before.get(name) != value
    }
    told = [name for name in change if name not in personal]
    return change, {
        "changed": sorted(change),
        "before": {name: before.get(name) for name in told},
        "after": {name: change[name] for name in told},
    }
