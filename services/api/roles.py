"""Which role may use which routes."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import AfterValidator

from overwatt.topics import DEVICE, is_device
from services.api.caller import Caller
from services.runtime.web import Refusal

OPERATORS: Final = ("operator", "operator-admin")
MANAGERS: Final = (*OPERATORS, "tenant-admin")
"""Who may put a tenant's devices out of use."""
STAFF: Final = (*MANAGERS, "installer")
"""Who sets a tenant's devices up."""


def require(*roles: str) -> Callable[..., Awaitable[None]]:
    """The dependency that lets these roles in: 403 says which they are."""

    async def has_role(who: Caller) -> None:
        if who.role not in roles:
            raise Refusal(403, f"your role is {who.role}; this needs {' or '.join(roles)}", field="role")

    return has_role


def _device(value: str) -> str:
    if not is_device(value):
        raise ValueError(f"must match {DEVICE.pattern}")
    return value


Id = Annotated[str, Path(description=f"matches {DEVICE.pattern}"), AfterValidator(_device)]
"""Of a box, device or site, in a path."""
OptionalId = Annotated[Annotated[str, AfterValidator(_device)] | None, Query()]
