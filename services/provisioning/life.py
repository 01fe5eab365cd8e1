"""What may become of a box or device, and by which action.

    active <-> disabled        until a person enables it
    active, disabled, revoked -> decommissioned: for good

`revoked` (its credentials are void until a new enrolment) and `erased` are set elsewhere.
"""

from typing import Final, Literal

from services.provisioning.model import ACTIVE, DECOMMISSIONED, Barred

DISABLED: Final = "disabled"
REVOKED: Final = "revoked"
Action = Literal["disable", "enable", "decommission"]

_STEPS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "disable": ((ACTIVE,), DISABLED),
    "enable": ((DISABLED,), ACTIVE),
    "decommission": ((ACTIVE, DISABLED, REVOKED), DECOMMISSIONED),
}


def after(what: str, state: str, action: Action) -> str | None:
    """The state that follows, None where it is there already; raises Barred."""
    allowed, following = _STEPS[action]
    if state == following:
        return None
    if state not in allowed:
        raise Barred(f"{what} is {state}; only what is {' or '.join(allowed)} becomes {following}")
    return following
