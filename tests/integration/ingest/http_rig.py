"""The HTTP door as it runs, and devices with tokens."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any

import asyncpg
import httpx2

from scripts.local import certificates
from scripts.local.ports import HOST
from tests.integration.ingest.conftest import Platform, a_device

BATCH = "/ingest/v1/batch"
TEMPERATURES = "select temp_c from telemetry where device_key = $1 order by ts"


@dataclass(frozen=True)
class Meter:
    """A device of the registry and its token."""

    tenant: str
    device: str
    key: int
    token: str

    @property
    def path(self) -> str:
        return f"/ingest/v1/tenant/{self.tenant}/device/{self.device}/telemetry"

    @property
    def head(self) -> dict[str, str]:
        return {"X-Provision-Token": self.token}


@dataclass(frozen=True)
class Door:
    """A client of the door, with one connection kept open."""

    path: Platform
    http: httpx2.AsyncClient

    async def send(self, meter: Meter, body: Any, **more: Any) -> httpx2.Response:
        return await self.http.post(meter.path, json=body, headers=meter.head, **more)

    async def batch(self, meter: Meter, *messages: Any) -> httpx2.Response:
        return await self.http.post(BATCH, json={"messages": messages}, headers=meter.head)

    async def temperatures(self, meter: Meter) -> list[float]:
        return [row[0] for row in await self.path.fetch(TEMPERATURES, meter.key)]

    async def meter(
        self, tenant: str, device: str, *, external_id: str | None = None, assets: tuple[str, ...] = ()
    ) -> Meter:
        """A new one, in use."""
        token, key = token_urlsafe(32), a_device(tenant, device).device_key
        await self.path.fetch(
            "insert into tenant (tenant_id, name) values ($1, $1) on conflict do nothing", tenant
        )
        await self.path.fetch(
            "insert into device (device_key, tenant_id, device_id, type, external_id, assets)"
            " overriding system value values ($1, $2, $3, 'sensor', $4, $5)",
            *(key, tenant, device, external_id, list(assets)),
        )
        await self.path.fetch(
            "insert into device_token (token_hash, prefix, tenant_id, device_id, mosquitto_hash)"
            " values ($1, $2, $3, $4, '')",
            *(sha256(token.encode()).digest(), token[:8], tenant, device),
        )
        return Meter(tenant, device, key, token)


def a_client(path: Platform) -> httpx2.AsyncClient:
    """Over TLS; it believes our root alone."""
    root = certificates.directory(path.stack.home) / "root.pem"
    url = f"https://{HOST}:{path.stack.ports.ingest_http}"
    return httpx2.AsyncClient(base_url=url, verify=ssl.create_default_context(cafile=root), timeout=30)


def sample(temp_c: float, *, ago_s: float = 0, **more: Any) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    return {"metrics": {"temp_c": temp_c}, "ts": at.isoformat(), **more}


def counts(answer: httpx2.Response) -> tuple[int, int, int]:
    """Status, accepted, rejected; the results add up to them."""
    told = answer.json()
    assert answer.status_code == 202, answer.text
    states = [result["status"] for result in told["results"]]
    assert [result["index"] for result in told["results"]] == list(range(len(states)))
    assert (states.count("accepted"), states.count("rejected")) == (told["accepted"], told["rejected"])
    return answer.status_code, told["accepted"], told["rejected"]


async def as_owner(path: Platform, statement: str, *arguments: Any) -> None:
    connection = await asyncpg.connect(path.url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()
