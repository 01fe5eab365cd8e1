"""The administrators' key: who holds it may do everything here, and says on whose behalf."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader

from services.provisioning import metrics
from services.provisioning.model import Author
from services.runtime.web import Refusal, request_id_of

_KEY = APIKeyHeader(name="X-Admin-Key", auto_error=False, description="PROVISION_ADMIN_KEY")
KEY_ACTOR: Final = "admin-key"

KeyHolder = Callable[..., Awaitable[Author]]


def key_holder(admin_key: str) -> KeyHolder:
    """The dependency of every administrators' route: 401 without the key, else the author of what follows.

    The api passes requests on with this key, and says in X-Actor and X-Client-Address for whom.
    """

    async def holder(request: Request, key: Annotated[str | None, Depends(_KEY)]) -> Author:
        if not is_right(key, admin_key):
            metrics.REFUSED_KEYS.inc()
            raise Refusal(
                401,
                "header X-Admin-Key is missing or wrong; it must be PROVISION_ADMIN_KEY",
                field="X-Admin-Key",
            )
        peer = request.client.host if request.client else None
        return Author(
            request.headers.get("x-actor") or KEY_ACTOR,
            request.headers.get("x-client-address") or peer,
            request_id_of(request),
        )

    return holder


def is_right(given: str | None, wanted: str) -> bool:
    """Compared in constant time; an empty key of ours lets nobody in (P-032)."""
    matches = hmac.compare_digest((given or "").encode("latin-1", "replace"), wanted.encode())
    return matches and bool(wanted)
