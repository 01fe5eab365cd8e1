"""Provisioning, as tenantctl talks to it: HTTP on 8081 behind X-Admin-Key."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import httpx2

from services.provisioning.model import Taken, Unknown
from services.provisioning.tenant_setup.schemas import Check, Pack
from services.runtime.errors import Invalid, Unavailable

TIMEOUT_S: Final = 30.0


class Platform:
    """One open connection. Every call raises Invalid, Unknown, Taken or Unavailable."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def tenants(self) -> list[dict[str, Any]]:
        """All of them."""
        found: list[dict[str, Any]] = self._ask("GET", "tenants").json()
        return found

    def get(self, tenant: str) -> dict[str, Any]:
        """A tenant as it was set up, and how it is."""
        return self._setup("GET", tenant)

    def set_up(
        self, tenant: str, *, name: str, code: str | None, pack: Pack, integrations: Sequence[str]
    ) -> tuple[dict[str, Any], bool]:
        """Make a tenant, whole; and whether it is new."""
        body = {"name": name, "code": code, "pack": pack.model_dump(), "integrations": list(integrations)}
        answer = self._ask("PUT", f"tenants/{tenant}/setup", body)
        return answer.json(), answer.status_code == httpx2.codes.CREATED

    def change(self, tenant: str, **changes: Any) -> dict[str, Any]:
        """Change what is named."""
        return self._setup("PATCH", tenant, changes)

    def set_state(self, tenant: str, act: str) -> None:
        """`enable` or `disable`."""
        self._ask("POST", f"tenants/{tenant}/{act}")

    def delete(self, tenant: str) -> None:
        """Remove one that never had anything."""
        self._ask("DELETE", f"tenants/{tenant}")

    def decommission(self, tenant: str) -> dict[str, Any]:
        """End it with its boxes and devices."""
        ended: dict[str, Any] = self._ask("POST", f"tenants/{tenant}/decommission").json()
        return ended

    def invite(self, tenant: str) -> dict[str, Any]:
        """A link for one person."""
        made: dict[str, Any] = self._ask("POST", f"tenants/{tenant}/invite").json()
        return made

    def keep_smoke(self, tenant: str, checks: Sequence[Check]) -> None:
        """Keep what a smoke run found."""
        self._ask("PUT", f"tenants/{tenant}/setup/smoke", {"checks": [each.model_dump() for each in checks]})

    def _setup(self, method: str, tenant: str, body: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(method, f"tenants/{tenant}/setup", body).json()
        return found

    def _ask(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        try:
            answer = self._http.request(method, f"/api/admin/{path}", json=body)
        except httpx2.TransportError as error:
            raise Unavailable(
                f"provisioning at {self._http.base_url} does not answer ({error or type(error).__name__}); "
                "start it with `make start`, or set PROVISIONING_URL to where it runs"
            ) from error
        if answer.is_success:
            return answer
        said = _detail(answer)
        match answer.status_code:
            case 401:
                raise Invalid(f"provisioning at {self._http.base_url} refuses PROVISION_ADMIN_KEY: {said}")
            case 404:
                raise Unknown(said, field="tenant")
            case 409:
                raise Taken(said)
            case status if status < 500:
                raise Invalid(said)
            case status:
                raise Unavailable(f"{method} {answer.url.path} answered {status}: {said}")


@contextmanager
def connect(url: str, key: str) -> Iterator[Platform]:
    """Provisioning at this address; nothing is sent yet."""
    with httpx2.Client(base_url=url, headers={"X-Admin-Key": key}, timeout=TIMEOUT_S) as http:
        yield Platform(http)


def _detail(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200] or answer.reason_phrase
