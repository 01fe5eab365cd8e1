"""EMQX over its REST interface: bans by user name, kicks. Its rules are a file that never changes, it fetches
the CRL by itself (CRL_URL stands in each certificate), and asks PostgreSQL for simple devices' tokens.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import httpx2

from services.provisioning.brokers.wanted import Wanted
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger

log = get_logger(__name__)

OURS: Final = "overwatt"
"""In `by` of our bans: those of people stay."""
PAGE: Final = 1000
LOOK_AGAIN: Final = timedelta(seconds=30)
"""EMQX may have been restored, or a person may have lifted a ban."""
ALREADY_BANNED: Final = "ALREADY_EXISTS"


class Emqx:
    """One EMQX."""

    wants_credentials = False

    def __init__(self, http: httpx2.AsyncClient) -> None:
        """`http` has the base URL, the API key as basic authentication, and a timeout."""
        self._http = http
        self._kept: tuple[str, ...] | None = None
        self._looked_at: datetime | None = None

    async def keep(self, wanted: Wanted, now: datetime) -> None:
        """Ban who is denied, lift our bans of all others."""
        is_old = self._looked_at is None or now - self._looked_at > LOOK_AGAIN
        if wanted.denied == self._kept and not is_old:
            return
        banned = await self._banned()
        denied = set(wanted.denied)
        for name in sorted(denied - banned):
            body = {"as": "username", "who": name, "by": OURS, "reason": "not active"}
            answer = await self._ask(self._http.post, "/banned", json=body, fine=(200, 400))
            if answer.status_code == 400 and ALREADY_BANNED not in answer.text:
                raise Unavailable(f"EMQX did not ban {name}: {answer.text[:200]}")
        for name in sorted(banned - denied):
            await self._ask(self._http.delete, f"/banned/username/{quote(name, safe='')}", fine=(204, 404))
        if banned != denied:
            log.info("broker told", banned=len(denied - banned), lifted=len(banned - denied))
        self._kept, self._looked_at = wanted.denied, now

    async def cut(self, identity: str, now: datetime) -> None:
        """Kick; the client id is the identity."""
        await self._ask(self._http.post, "/clients/kickout/bulk", json=[identity], fine=(200, 204))

    async def _banned(self) -> set[str]:
        found: set[str] = set()
        page, has_more = 1, True
        while has_more:
            answer = await self._ask(
                self._http.get, "/banned", params={"page": page, "limit": PAGE}, fine=(200,)
            )
            listed = answer.json()
            found.update(
                each["who"] for each in listed["data"] if each["as"] == "username" and each.get("by") == OURS
            )
            page, has_more = page + 1, len(listed["data"]) == PAGE
        return found

    async def _ask(
        self,
        call: Callable[..., Awaitable[httpx2.Response]],
        path: str,
        *,
        fine: tuple[int, ...],
        **request: Any,
    ) -> httpx2.Response:
        try:
            answer = await call(f"/api/v5{path}", **request)
        except httpx2.HTTPError as error:
            raise Unavailable(f"EMQX {path}: {error!r}") from error
        if answer.status_code not in fine:
            raise Unavailable(f"EMQX {path} answered {answer.status_code}: {answer.text[:200]}")
        return answer
