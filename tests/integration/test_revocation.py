"""The floor of a revocation: who publishes at 10 Hz on a live session is out 5 s after the call (X18), and
100 others lose nothing. Real broker, gateway, writer and provisioning; real enrolment of the one."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from uuid import uuid4

import asyncpg
import httpx2
import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion

from overwatt.topics import topic
from scripts.local import certificates
from scripts.local.ports import HOST
from scripts.local.stack import Stack
from services.provisioning.enrolment.authority import Issued
from tests.fakes.certificates import Issuer, context
from tests.integration.controller_rig import until

FLOOR_S: Final = 5.0
WATCHED_S: Final = 8.0
OTHERS: Final = 100
PERIOD_S: Final = 0.1
ROWS: Final = """
select count(*) from telemetry join device using (device_key) where tenant_id = $1 and device_id = $2"""
LAST: Final = """
select extract(epoch from max(ts)) from telemetry join device using (device_key)
where tenant_id = $1 and device_id = $2"""
ROWS_OF_OTHERS: Final = """
select count(*) from telemetry join device using (device_key)
where tenant_id = $1 and device_id like 'other-%'"""


class Publisher:
    """A device on a session of its own that counts what it sent."""

    def __init__(self, tenant: str, device: str, port: int, tls: ssl.SSLContext, token: str = "") -> None:
        self.sent = 0
        self.connects: list[str] = []
        self._topic = topic(tenant, device, "telemetry")
        self._mqtt = paho.Client(CallbackAPIVersion.VERSION2, f"{tenant}/{device}", protocol=paho.MQTTv5)
        self._mqtt.username = f"{tenant}/{device}"
        if token:
            self._mqtt.password = token
        self._mqtt.tls_set_context(tls)
        self._mqtt.reconnect_delay_set(1, 1)
        self._mqtt.on_connect = lambda _, __, ___, reason, ____: self.connects.append(str(reason))
        self._mqtt.connect(HOST, port)
        self._mqtt.loop_start()

    @property
    def is_connected(self) -> bool:
        return bool(self._mqtt.is_connected())

    def publish(self) -> None:
        """A sample of now, QoS 1."""
        self.sent += 1
        body = {"ts": time.time(), "metrics": {"temp_c": float(self.sent)}}
        self._mqtt.publish(self._topic, json.dumps(body).encode(), qos=1)

    def stop(self) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop_stop()


@contextmanager
def a_publisher(*arguments: Any) -> Iterator[Publisher]:
    made = Publisher(*arguments)
    try:
        yield made
    finally:
        made.stop()


class World:
    """One tenant on the running platform."""

    def __init__(self, platform: Stack, http: httpx2.AsyncClient, db: Any) -> None:
        self.ports = platform.ports
        self.tenant = f"rev-{uuid4().hex[:8]}"
        self.db = db
        self.root = certificates.authority(platform.home) / "root.pem"
        self.issuer = Issuer.ours(certificates.authority(platform.home))
        self._http = http

    async def ask(self, path: str, body: Any = None) -> Any:
        """POST to the administrators' door."""
        answer = await self._http.post(f"/api/admin{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def make_others(self) -> None:
        """The tenant and the devices that are not revoked."""
        await self.ask("/tenants", {"tenant_id": self.tenant})
        for number in range(OTHERS):
            await self.ask("/devices", {"tenant_id": self.tenant, "device_id": f"other-{number}"})

    def other(self, number: int) -> tuple[Any, ...]:
        name = f"other-{number}"
        tls = context(self.root, self.issuer.sign(f"{self.tenant}/{name}"))
        return (self.tenant, name, self.ports.mqtt_tls, tls)

    async def enrolled_box(self) -> tuple[tuple[Any, ...], str]:
        """How an enrolled box connects, and the path of its revocation."""
        box = f"box-{self.tenant}"
        await self.ask("/boxes", {"tenant_id": self.tenant, "box_id": box, "site_name": "Site"})
        path = f"/boxes/{self.tenant}/{box}"
        told = await self.ask(f"{path}/enroll-tokens", {"email": "a@example.com"})
        key, csr = a_request()
        async with httpx2.AsyncClient(verify=context(self.root, None)) as door:
            answer = await door.post(
                f"https://localhost:{self.ports.enrol}/enroll",
                json={"token": told["url"].partition("#")[2], "email": "a@example.com", "csr": csr},
            )
        assert answer.is_success, answer.text
        given = answer.json()
        tls = context(self.root, Issued(key, (given["certificate"] + given["chain"]).encode()))
        return (self.tenant, box, given["mqtt"]["port"], tls), f"{path}/revoke"

    async def activated_device(self) -> tuple[tuple[Any, ...], str]:
        """How a simple device connects, and the path of its revocation."""
        path = f"/devices/{self.tenant}/simple"
        await self.ask("/devices", {"tenant_id": self.tenant, "device_id": "simple"})
        told = await self.ask(f"{path}/activation-code")
        async with httpx2.AsyncClient(verify=context(self.root, None)) as door:
            answer = await door.post(
                f"https://localhost:{self.ports.enrol}/activate", json={"code": told["code"]}
            )
        assert answer.is_success, answer.text
        given = answer.json()
        tls = context(self.root, None)
        return (self.tenant, "simple", given["mqtt"]["port"], tls, given["token"]), f"{path}/revoke"


def a_request() -> tuple[bytes, str]:
    """A key and its certificate request, as a box makes them."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, csr.public_bytes(encoding).decode()


@pytest.fixture
async def world(platform: Stack) -> AsyncIterator[World]:
    url = f"http://{HOST}:{platform.ports.provisioning}"
    headers = {"X-Admin-Key": "change-me-now"}
    db = await asyncpg.connect(platform.env()["DATABASE_URL"])
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as http:
        yield World(platform, http, db)
    await db.close()


async def in_step(everybody: list[Publisher], until_s: float, also: Callable[[], None]) -> None:
    """Everybody publishes ten times a second, a tenth of the others at a time."""
    step = 0
    while time.monotonic() < until_s:
        begun = time.monotonic()
        for publisher in everybody[step % 10 :: 10]:
            publisher.publish()
        also()
        step += 1
        await asyncio.sleep(max(0.0, PERIOD_S - (time.monotonic() - begun)))


@pytest.mark.parametrize("way", ["certificate", "token"])
async def test_who_is_revoked_is_out_within_5_s_on_its_live_session_and_100_others_lose_nothing(
    world: World, way: str
) -> None:  # X18, U-P08
    await world.make_others()
    connection, path = await (world.enrolled_box() if way == "certificate" else world.activated_device())
    with ExitStack() as running:
        victim = running.enter_context(a_publisher(*connection))
        others = [running.enter_context(a_publisher(*world.other(number))) for number in range(OTHERS)]
        await until("the others are connected", lambda: _true(all(each.is_connected for each in others)))

        async def is_stored() -> bool:
            victim.publish()
            return int(await world.db.fetchval(ROWS, world.tenant, victim_id)) > 0

        victim_id = connection[1]
        await until("what the one sends is stored", is_stored)
        await in_step(others, time.monotonic() + 2, victim.publish)
        before = await world.db.fetchval(ROWS, world.tenant, victim_id)

        called_at = time.time()
        revoking = asyncio.create_task(world.ask(path))
        await in_step(others, time.monotonic() + WATCHED_S, victim.publish)
        await revoking

        sent = sum(each.sent for each in others)
        stored = lambda: world.db.fetchval(ROWS_OF_OTHERS, world.tenant)  # noqa: E731
        await until("all of the others is stored", lambda: _is(stored, sent))
        last = float(await world.db.fetchval(LAST, world.tenant, victim_id))

        assert before > 0
        assert victim.sent > before
        assert last - called_at < FLOOR_S
        assert not victim.is_connected
        assert victim.connects.count("Success") == 1
        assert all(each.is_connected for each in others)
        print(f"last accepted message of the revoked {way}: {last - called_at:.2f} s after the call")


async def _true(value: bool) -> bool:
    return value


async def _is(ask: Callable[[], Any], wanted: int) -> bool:
    return int(await ask()) == wanted
