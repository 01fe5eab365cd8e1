"""From a device to a row, a rejection or an acknowledgement, on real servers and real processes."""

import asyncio
import subprocess
from uuid import uuid4

from overwatt.topics import AGENT_REPLY, AGENT_STATUS, COMMANDS, TELEMETRY
from overwatt.v1.agent_pb2 import (
    AgentReply,
    AgentStatus,
    Command,
    Config,
    Event,
    EvictedRange,
    Spool,
    SpoolEpoch,
    Status,
)
from overwatt.v1.telemetry_pb2 import Ack, Batch, Block, Column, Record
from tests.integration.ingest.conftest import Platform, a_batch, a_device, now_us

ROWS = "select count(*) from telemetry where device_key = $1"
TEMP = "select temp_c from telemetry where device_key = $1"
REASON = "select reason from rejection where tenant_id = $1 and device_id = $2 order by id desc limit 1"


async def test_a_typed_mosquitto_pub_becomes_a_row(platform_path: Platform, tenant: str) -> None:  # P-033
    path, sensor = platform_path, a_device(tenant, "sensor-001", type="sensor")
    await path.know(sensor)

    await asyncio.to_thread(
        subprocess.run,
        ["mosquitto_pub", "-q", "1", "-p", str(path.stack.ports.mosquitto), "-t",
         f"devices/{tenant}/sensor-001/telemetry", "-m", '{"metrics":{"temp_c":25.5,"rssi_dbm":-70}}'],
        check=True,
    )  # fmt: skip

    await path.until(TEMP, sensor.device_key, is_true=lambda value: value == 25.5)
    other = "select value from telemetry_other join telemetry_series using (series_id) where device_key = $1"
    assert (await path.fetch(other, sensor.device_key))[0]["value"] == -70
    rollup = "select temp_c_max from telemetry_1m where device_key = $1"
    await path.until(rollup, sensor.device_key, is_true=lambda value: value == 25.5)


async def test_what_cannot_be_used_is_a_rejection_and_disturbs_nothing(
    platform_path: Platform, tenant: str
) -> None:
    path, sensor = platform_path, a_device(tenant, "sensor-001")
    await path.know(sensor)
    wrong = {
        "MALFORMED": {"metrics": {"temp_c": "warm"}},
        "NOT_A_NUMBER": {"metrics": {"temp_c": float("nan")}},
        "PAYLOAD_TOO_LARGE": {"metrics": {"temp_c": 1}, "padding": "x" * 17_000},
        "TIME_IN_FUTURE": {"metrics": {"temp_c": 1}, "ts": now_us() / 1e6 + 3_600},
        "TIME_TOO_OLD": {"metrics": {"temp_c": 1}, "ts": now_us() / 1e6 - 81 * 86_400},
    }

    with path.device(tenant, "sensor-001") as wire, path.device(tenant, "stranger") as stranger:
        for payload in wrong.values():
            wire.send(payload)
            stranger.send({"metrics": {"temp_c": 1}})
        wire.send({"metrics": {"temp_c": 21}})

    await path.until(TEMP, sensor.device_key, is_true=lambda value: value == 21)
    for reason in wrong:
        query = "select count(*) from rejection where tenant_id = $1 and device_id = $2 and reason = $3"
        await path.until(query, tenant, "sensor-001", reason, is_true=lambda count: count == 1)
    strangers = "select sum(count) from rejection where tenant_id = $1 and reason = 'DEVICE_UNKNOWN'"
    await path.until(strangers, tenant, is_true=lambda count: count == len(wrong))
    [row] = await path.fetch(
        "select * from rejection where tenant_id = $1 and reason = 'NOT_A_NUMBER'", tenant
    )
    assert b"NaN" in row["payload"]
    assert "temp_c" in row["detail"]
    assert (await path.fetch(ROWS, sensor.device_key))[0][0] == 1


async def test_beyond_ten_a_minute_rejections_are_a_number(platform_path: Platform, tenant: str) -> None:
    path, sensor = platform_path, a_device(tenant, "sensor-001")
    await path.know(sensor)

    with path.device(tenant, "sensor-001") as wire:
        for _ in range(25):
            wire.send({"metrics": {}})
        wire.send({"metrics": {"temp_c": 21}})
        # A device's messages stay in order: the others were counted before this one became a row.
        await path.until(TEMP, sensor.device_key, is_true=lambda value: value == 21)
        # The numbers of the running minute are told when the gateway stops.
        path.stack.stop_part("ingest-gateway")

    query = "select sum(count) from rejection where tenant_id = $1 and reason = 'MALFORMED'"
    await path.until(query, tenant, is_true=lambda count: count == 25)
    rows = await path.fetch("select payload from rejection where tenant_id = $1 order by id", tenant)
    assert len(rows) == 11


async def test_a_record_that_cannot_be_used_is_a_dead_letter_and_the_writer_goes_on(
    platform_path: Platform, tenant: str
) -> None:
    path, sensor = platform_path, a_device(tenant, "sensor-001")
    await path.know(sensor)
    # Nothing that the gateway sends: without keys, and no protobuf at all.
    column = Column(metric="fan_rpm", values=bytes(8))
    keyless = Record(tenant=tenant, device="sensor-001", blocks=[Block(columns=[column])]).SerializeToString()
    for value in (keyless, b"\xff nonsense"):
        await path.produce(TELEMETRY, f"{tenant}/sensor-001", value)

    with path.device(tenant, "sensor-001") as wire:
        wire.send({"metrics": {"temp_c": 21}})
        await path.until(TEMP, sensor.device_key, is_true=lambda value: value == 21)

    count = "select count(*) from rejection where tenant_id = $1 and reason = 'MALFORMED'"
    await path.until(count, tenant, is_true=lambda found: found == 2)
    rows = await path.fetch("select payload, detail from rejection where tenant_id = $1", tenant)
    assert {row["payload"] for row in rows} == {keyless, b"\xff nonsense"}
    assert all(TELEMETRY in row["detail"] for row in rows)


async def test_the_same_key_again_is_a_duplicate_fills_in_or_is_refused(
    platform_path: Platform, tenant: str
) -> None:
    path, sensor = platform_path, a_device(tenant, "sensor-001")
    await path.know(sensor)
    ts = now_us() / 1e6 - 10

    with path.device(tenant, "sensor-001") as wire:
        for seq, metrics in enumerate(
            [{"temp_c": 1, "rssi_dbm": 5}, {"temp_c": 1}, {"soc_pct": 50}, {"temp_c": 2, "soh_pct": 9},
             {"rssi_dbm": 6}],
            start=1,
        ):  # fmt: skip
            wire.send({"metrics": metrics, "ts": ts, "seq": seq})
            answer = wire.answer(seq)
            if seq in (4, 5):
                [refused] = answer["refused"]
                assert (refused["reason"], refused["final"]) == ("CONFLICTING_SAMPLE", True)
            else:
                assert answer["refused"] == []

    [row] = await path.fetch("select * from telemetry where device_key = $1", sensor.device_key)
    assert (row["temp_c"], row["soc_pct"], row["soh_pct"]) == (1, 50, None)
    rejected = "select count(*) from rejection where tenant_id = $1 and reason = 'CONFLICTING_SAMPLE'"
    assert (await path.fetch(rejected, tenant))[0][0] == 2


async def test_an_agent_is_told_what_is_committed_and_what_is_refused(
    platform_path: Platform, tenant: str
) -> None:
    path = platform_path
    agent = a_device(tenant, "site-1", type="agent", assets=["bat-1"])
    battery, foreign = a_device(tenant, "bat-1"), a_device(tenant, "bat-2")
    await path.know(agent, battery, foreign)
    at = now_us() - 5_000_000

    with path.device(tenant, "site-1") as wire:
        good = a_batch(
            epoch=9, first_seq=1, asset="bat-1", times_us=[at, at + 1, at + 2], power=[1, float("inf"), 3]
        )
        theirs = Batch.FromString(a_batch(epoch=9, first_seq=4, asset="bat-2", times_us=[at], power=[1]))
        batch = Batch.FromString(good)
        theirs.blocks[0].seq_offset = (3).to_bytes(4, "little")
        batch.blocks.append(theirs.blocks[0])
        wire.send(batch.SerializeToString())

        assert wire.refused("ASSET_NOT_ALLOWED") == [(4, 4)]
        assert wire.refused("NOT_A_NUMBER") == [(2, 2)]
        wire.committed(9, 1, 1)
        wire.committed(9, 3, 3)
        # Whatever is sent again is acknowledged again, and nothing is stored or rejected twice.
        wire.got.clear()
        wire.send(good)
        wire.committed(9, 1, 3)

    rows = await path.fetch(
        "select active_power_w from telemetry where device_key = $1 order by ts", battery.device_key
    )
    assert [row[0] for row in rows] == [1, 3]
    assert (await path.fetch(ROWS, foreign.device_key))[0][0] == 0
    query = "select count(*) from rejection where tenant_id = $1 and reason = 'NOT_A_NUMBER'"
    assert (await path.fetch(query, tenant))[0][0] == 1


async def test_data_of_an_unregistered_agent_are_accepted_once_it_is_registered(
    platform_path: Platform, tenant: str
) -> None:
    path = platform_path
    at = now_us()
    batch = a_batch(epoch=9, first_seq=1, times_us=[at], power=[5])

    with path.device(tenant, "site-1") as wire:
        wire.send(Status(kind=Status.BIRTH, boot_id=tenant).SerializeToString(), "status", retain=True)
        wire.send(batch)
        assert wire.refused("DEVICE_UNKNOWN") == [(1, 1)]

        agent = a_device(tenant, "site-1", type="agent", box="site-1", mode="active", mode_epoch=3)
        await path.register(agent)
        config = Config.FromString(wire.message("config"))  # so the gateway knows it now
        assert (config.mode, config.mode_epoch) == ("active", 3)
        wire.send(batch)
        wire.committed(9, 1, 1)

    births = [AgentStatus.FromString(record.value) for record in await path.kafka(AGENT_STATUS)]
    assert tenant in {birth.status.boot_id for birth in births}  # which it had said too early


async def test_a_birth_makes_the_writer_forget_and_evictions_are_declared(
    platform_path: Platform, tenant: str
) -> None:
    path, agent = platform_path, a_device(tenant, "site-1", type="agent")
    await path.know(agent)
    at = now_us() - 1_000_000

    with path.device(tenant, "site-1") as wire:
        for epoch in (8, 9):
            times = [at + epoch * 10 + i for i in range(4)]
            wire.send(a_batch(epoch=epoch, first_seq=1, times_us=times, power=[1, 2, 3, 4]))
            wire.committed(epoch, 1, 4)
        status = Status(
            kind=Status.BIRTH,
            boot_id=tenant,
            spool_epochs=[SpoolEpoch(epoch=9, lowest_seq=3)],
            spool=Spool(evicted=[EvictedRange(epoch=7, first_seq=5, last_seq=14)]),
        )
        wire.send(status.SerializeToString(), "status")

    query = "select string_agg(epoch || ranges::text, ' ') from ingest_committed where tenant_id = $1"
    await path.until(query, tenant, is_true=lambda text: text == "9{[3,5)}")
    [loss] = await path.fetch("select * from declared_loss where tenant_id = $1", tenant)
    assert (loss["epoch"], loss["first_seq"], loss["last_seq"], loss["rows"]) == (7, 5, 14, 10)


async def test_what_an_agent_says_happened_is_kept_once(platform_path: Platform, tenant: str) -> None:
    # U-D18
    path = platform_path
    await path.know(a_device(tenant, "site-1", type="agent", assets=["bat-1"]))
    silent = Event(at_us=now_us(), asset="bat-1", type="device_silent", severity="alarm", message="no answer")
    timeless = Event(type="started", severity="info")
    unheard = Event(type="started", severity="loud")

    with path.device(tenant, "site-1") as wire:
        for event in (silent, unheard, silent, timeless):
            wire.send(event.SerializeToString(), "event")

    await path.until("select count(*) from events where tenant_id = $1 and asset_id = 'site-1'", tenant)
    rows = await path.fetch("select * from events where tenant_id = $1 order by event_type", tenant)
    assert [(row["asset_id"], row["event_type"], row["severity"]) for row in rows] == [
        ("bat-1", "device_silent", "alarm"), ("site-1", "started", "info"),
    ]  # fmt: skip
    assert rows[1]["ts"] == rows[1]["received_at"]


async def test_an_agent_that_says_it_is_alive_is_told_the_time(platform_path: Platform, tenant: str) -> None:
    path = platform_path
    await path.know(a_device(tenant, "site-1", type="agent"))

    with path.device(tenant, "site-1") as wire:
        before_us = now_us()
        wire.send(Status(kind=Status.ALIVE, boot_id=tenant, asked_us=77).SerializeToString(), "status")
        # A box without a clock has nothing that it could send as a sample and be acknowledged for.
        ack = Ack.FromString(wire.message("ack"))

    assert before_us <= ack.server_time_us <= now_us()
    assert ack.asked_us == 77  # by it an agent knows how old that time is
    assert not ack.committed


async def a_box(path: Platform, tenant: str, mode: str, opt_ins: tuple[str, ...] = ("battery",)) -> None:
    await path.fetch("insert into tenant (tenant_id, name) values ($1, $1)", tenant)
    await path.fetch("insert into site (tenant_id, site_id) values ($1, 'site-1')", tenant)
    await path.fetch(
        "insert into box (tenant_id, box_id, site_id, mode, mode_epoch, opt_ins)"
        " values ($1, $1 || '-box', 'site-1', $2, 7, $3::text[])",
        tenant, mode, opt_ins,
    )  # fmt: skip
    agent = a_device(tenant, "site-1", type="agent", box=f"{tenant}-box", mode=mode, mode_epoch=7)
    await path.know(agent)


def a_command(tenant: str) -> Command:
    now = now_us()
    return Command(
        id=str(uuid4()), dispatch_id=str(uuid4()), tenant=tenant, device="site-1", power_mw=5,
        issued_at_us=now, expires_at_us=now + 60_000_000, capability="battery",
    )  # fmt: skip


async def test_a_command_reaches_an_active_box_with_its_mode_epoch(
    platform_path: Platform, tenant: str
) -> None:
    path = platform_path
    await a_box(path, tenant, "active")
    command = a_command(tenant)

    with path.device(tenant, "site-1") as wire:
        await path.produce(COMMANDS, f"{tenant}/site-1", command.SerializeToString())
        heard = Command.FromString(wire.message("cmd"))

    assert (heard.id, heard.power_mw, heard.mode_epoch) == (command.id, 5, 7)
    query = "select mode_epoch from publish_log where command_id = $1::text::uuid"
    await path.until(query, command.id, is_true=lambda epoch: epoch == 7)


async def test_a_command_to_an_observing_box_is_answered_and_not_published(
    platform_path: Platform, tenant: str
) -> None:
    path = platform_path
    await a_box(path, tenant, "observe")
    refused, marker = a_command(tenant), a_command(tenant)

    with path.device(tenant, "site-1") as wire:
        await path.produce(COMMANDS, f"{tenant}/site-1", refused.SerializeToString())
        reply = await path.until_kafka(
            AGENT_REPLY,
            lambda value: AgentReply.FromString(value).reply.command_id == refused.id,
        )
        answer = AgentReply.FromString(reply)
        assert (answer.reply.reason, answer.from_gateway) == ("MODE_OBSERVE", True)

        await path.fetch("update box set mode = 'active' where tenant_id = $1", tenant)
        await path.produce(COMMANDS, f"{tenant}/site-1", marker.SerializeToString())
        wire.message("cmd", lambda body: Command.FromString(body).id == marker.id)
        assert [Command.FromString(body).id for name, body in wire.got if name == "cmd"] == [marker.id]

    logged = await path.fetch(
        "select count(*) from publish_log where command_id = $1::text::uuid", refused.id
    )
    assert logged[0][0] == 0
