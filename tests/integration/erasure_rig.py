"""What the tests of erasure share: a mail server, and the api with whoever asks."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import Envelope

from overwatt.topics import REGISTRY
from overwatt.v1.registry_pb2 import Device
from services.api.tokens import Identity, make_token
from services.runtime.bus import consumer
from tests.integration.api_world import KEY
from tests.integration.controller_rig import until
from tests.integration.door_rig import NOBODY_LISTENS, Service, a_service
from tests.integration.erasure_world import Person


class Sink:
    """A mail server that keeps what it is given, or answers what it is told to."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], Message]] = []
        self.answer = "250 OK"

    async def handle_DATA(self, _: Any, __: Any, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.mails.append((envelope.rcpt_tos, message_from_bytes(envelope.content)))
        return self.answer


@dataclass
class Post:
    """Where it listens."""

    sink: Sink
    url: str


@dataclass
class Doors:
    """The api, with whoever asks."""

    api: Service
    person: Person

    async def ask(self, who: str, method: str, path: str, body: Any = None) -> Any:
        """`who` is operator, anna, or stranger: an operator of another tenant."""
        tenant = "another" if who == "stranger" else self.person.tenant
        role = "customer" if who == "anna" else "operator"
        user = str(self.person.user) if who == "anna" else f"{who}-7"
        token = make_token(KEY, Identity(tenant, user, role), now=datetime.now(UTC), ttl_s=600)
        return await self.api.ask(method, path, body, Authorization=f"Bearer {token}")

    async def does(self, who: str, method: str, path: str, body: Any = None) -> Any:
        """The JSON of a success."""
        answer = await self.ask(who, method, path, body)
        assert answer.is_success, (path, answer.text)
        return answer.json()


@asynccontextmanager
async def doors_of(
    tmp_path: Path, role_url: Callable[[str], str], environment: dict[str, str], person: Person
) -> AsyncIterator[Doors]:
    """Provisioning without Kafka is not ready, but its door is open."""
    has_kafka = environment.get("KAFKA_BOOTSTRAP", NOBODY_LISTENS) != NOBODY_LISTENS
    async with a_service("provisioning", tmp_path, environment, until_ready=has_kafka) as provisioning:

        async def is_open() -> bool:
            return (await provisioning.readiness())[0] > 0

        await until("provisioning answers", is_open)
        settings = {
            "DATABASE_URL": role_url("api"),
            "API_TOKEN_KEY": KEY,
            "PROVISIONING_URL": str(provisioning.http.base_url),
        }
        async with a_service("api", tmp_path, settings) as api:
            yield Doors(api, person)


async def audit(db: Any, action: str) -> dict[str, Any]:
    row = await db.fetchrow("select * from admin_audit where action = $1", action)
    assert row, action
    return {**dict(row), "detail": json.loads(row["detail"])}


async def executed(doors: Doors) -> str:
    asked = await doors.does("anna", "POST", "/account/data/delete-request")
    done = await doors.does("operator", "POST", f"/admin/data-requests/{asked['request_id']}/execute")
    assert done["state"] == "executed"
    return str(asked["request_id"])


async def read_registry(kafka: str) -> dict[str, Device | None]:
    """The topic as it would be after compaction."""
    said: dict[str, Device | None] = {}
    async with consumer(kafka, [REGISTRY], group=None) as source:
        partitions = source.assignment()
        ends = await source.end_offsets(partitions)
        while any([await source.position(each) < ends[each] for each in partitions]):
            for batch in (await source.getmany(timeout_ms=200)).values():
                for record in batch:
                    said[record.key.decode()] = record.value and Device.FromString(record.value)
    return said
