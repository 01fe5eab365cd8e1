"""Tombstones on the path: what comes late about an erased device is refused and leaves nothing (H-022)."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from overwatt.topics import AGENT_REPLY, REGISTRY, identity_hash, tombstone_of
from overwatt.v1.agent_pb2 import AgentReply, Config, Reply, Status
from overwatt.v1.registry_pb2 import Device
from tests.integration.controller_rig import until
from tests.integration.db.test_db_erasure import a_request
from tests.integration.erasure_world import Person, a_person, where_found
from tests.integration.ingest.conftest import Platform, a_batch, a_device, now_us
from tests.integration.ingest.test_ingest_store import (  # noqa: F401
    AT_US,
    Bench,
    a_record,
    bench,
    committed,
    refused,
)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_late_records_of_an_erased_device_are_refused_for_good_and_leave_a_number(
    bench: Bench,  # noqa: F811
    db: Any,
) -> None:
    await bench.write(a_record({"temp_c": [1, 2]}))
    await db.execute("insert into erased_device (device_key) values (1)")

    ack = await bench.write(
        a_record({"temp_c": [3, float("inf")]}, first_seq=3, at_us=AT_US + 60_000_000),
        a_record({"temp_c": [7]}, key=2, first_seq=5),
    )

    assert refused(ack) == {"DEVICE_ERASED": [(3, 4)]}
    assert committed(ack) == [(5, 5)]
    rows = await bench.fetch("select device_key, temp_c from telemetry order by 1, 2")
    assert [tuple(row) for row in rows] == [(1, 1), (1, 2), (2, 7)], "nothing new of the erased one"
    [left] = await bench.fetch("select tenant_id, device_id, asset_id, reason, payload, count from rejection")
    assert tuple(left) == ("t", None, None, "DEVICE_ERASED", None, 2)
    [ranges] = await bench.fetch("select ranges::text from ingest_committed")
    assert ranges[0] == "{[1,3),[5,6)}", "what was refused counts as settled nowhere"


async def test_a_tombstone_waits_for_the_flush_under_way_whose_rows_are_erased_too(
    database_url: str, db: Any
) -> None:
    person: Person = await a_person(db, "t", "anna")
    request = await a_request(db, person)
    writer = await asyncpg.connect(database_url)
    flush = writer.transaction()
    await flush.start()
    await writer.execute("set local role ingest")
    assert await writer.fetch("select * from erased_devices($1)", list(person.keys)) == []

    tombs = asyncio.create_task(db.execute("select entomb($1)", request))

    async def is_waiting() -> bool:
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        return bool(await writer.fetchval(waiting))

    await until("the tombstone waits", is_waiting)
    at = datetime.now(UTC) - timedelta(minutes=1)
    await writer.execute("select ensure_telemetry_partition($1)", at.date())
    await writer.execute(
        "insert into telemetry (device_key, ts, temp_c) values ($1, $2, 1)", person.keys[1], at
    )
    await flush.commit()
    await tombs

    async with writer.transaction():
        await writer.execute("set local role ingest")
        assert len(await writer.fetch("select * from erased_devices($1)", list(person.keys))) == 2
    await db.execute("select * from erase_data($1)", request)
    assert "telemetry" not in await where_found(db, (), person.keys)
    await writer.close()


def hears(port: int, *topics: str) -> tuple[paho.Client, dict[str, bytes], threading.Event]:
    """Retained messages on these topics, as a gateway sees them; set once the last topic has spoken."""
    client = paho.Client(CallbackAPIVersion.VERSION2, "svc-ingest-3", protocol=paho.MQTTv5)
    client.username = "svc-ingest-3"
    got: dict[str, bytes] = {}
    done = threading.Event()

    def take(_: Any, __: Any, message: paho.MQTTMessage) -> None:
        got[message.topic] = bytes(message.payload)
        if message.topic == topics[-1]:
            done.set()

    client.on_message = take
    client.on_connect = lambda client, *_: client.subscribe([(each, 1) for each in topics])
    client.connect("127.0.0.1", port, clean_start=True)
    client.loop_start()
    return client, got, done


async def test_an_erased_agent_is_told_to_wipe_and_nothing_else_of_it_passes_or_stays(
    platform_path: Platform, tenant: str
) -> None:
    agent = a_device(tenant, "box-1", box="box-1", type="agent", mode="active", mode_epoch=4)
    other = a_device(tenant, "box-2", box="box-2", type="agent", mode="active")
    await platform_path.know(agent, other)
    status = f"devices/{tenant}/{{}}/status"
    with platform_path.device(tenant, "box-1") as wire, platform_path.device(tenant, "box-2") as neighbour:
        for each in (wire, neighbour):
            birth = Status(kind=Status.BIRTH, boot_id=f"boot-{each.name}").SerializeToString()
            each.send(birth, "status", retain=True)
        wire.send(a_batch(epoch=7, first_seq=1, times_us=[now_us()], power=[1.0]))
        wire.committed(7, 1, 1)

        erased = Device(
            tenant=tenant, device="box-1", device_key=agent.device_key, box="box-1", type="agent",
            state="erased", mode="observe", mode_epoch=5, wipe=True,
        )  # fmt: skip
        key = tombstone_of(identity_hash(tenant, "box-1"))
        await platform_path.produce(REGISTRY, key, Device(state="erased").SerializeToString())
        await platform_path.register(erased)
        order = Config.FromString(wire.message("config", lambda body: Config.FromString(body).erase))
        assert (order.mode, order.mode_epoch) == ("observe", 5)

        wire.send(a_batch(epoch=7, first_seq=2, times_us=[now_us()], power=[2.0]))
        wire.send(b"\xff not protobuf", "event")
        assert wire.refused("DEVICE_ERASED") == [(2, 2)]
        wire.send(Reply(state=Reply.ERASED, reason="secret").SerializeToString(), "reply")
        said = await platform_path.until_kafka(
            AGENT_REPLY, lambda value: AgentReply.FromString(value).reply.state == Reply.ERASED
        )
        assert b"secret" not in said
        assert AgentReply.FromString(said).device == "box-1"

        count = "select coalesce(sum(count), 0) from rejection where tenant_id = $1"
        await platform_path.until(count, tenant, is_true=lambda number: number >= 2)
        rows = await platform_path.fetch("select * from rejection where tenant_id = $1", tenant)
        assert {(row["device_id"], row["payload"], row["source_topic"], row["detail"]) for row in rows} == {
            (None, None, None, "")
        }
        stored = "select count(*) from telemetry where device_key = $1"
        assert (await platform_path.fetch(stored, agent.device_key))[0][0] == 1

        client, got, done = hears(
            platform_path.stack.ports.mosquitto, status.format("box-1"), status.format("box-2")
        )
        try:
            assert await asyncio.to_thread(done.wait, 30)
        finally:
            client.disconnect()
            client.loop_stop()
        assert list(got) == [status.format("box-2")], "the status of the erased one is not retained"
    with platform_path.device(tenant, "box-1") as late:
        assert Config.FromString(late.message("config")).erase, "who was away hears it on connecting"
