"""Bad input among good: no good row is lost, nothing crashes, and what is refused is counted exactly.

`make fuzz MESSAGES=1000000` is the long form of the first test.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import pytest

from scripts.local.ports import HOST
from services.ingest import mqtt_packets
from tests.integration.ingest.conftest import WITHIN_S, Platform, a_platform, now_us
from tests.integration.ingest.fuzz_mix import TENANT, Mix, Shot, devices
from tests.integration.ingest.test_ingest_faults import metric

MESSAGES: Final = int(os.environ.get("MESSAGES", "20000"))
SEED: Final = int(os.environ.get("SEED", "1"))
WINDOW: Final = 1_000
ROWS: Final = """
select d.key as key, count(t.ts) as n, coalesce(sum(t.temp_c), 0) as total
from unnest($1::int[]) as d (key) left join telemetry t on t.device_key = d.key group by 1"""
REJECTED: Final = """
select coalesce(tenant_id, '') as tenant, coalesce(device_id, '') as device, reason, sum(count) as n,
       count(*) filter (where detail not like 'beyond the first%') as told, count(payload) as kept
from rejection where coalesce(device_id, '') <> 'mutant' group by 1, 2, 3"""
NOT_ALLOWED: Final = 0x87


@pytest.fixture(scope="module")
def components() -> Iterator[Platform]:
    with a_platform(INGEST_DEVICE_RATE="0", INGEST_AGENT_RATE="0") as platform:
        yield platform


async def test_hostile_messages_cost_no_good_row_and_are_counted_exactly(platform_path: Platform) -> None:
    """K05, U-P05, P-069; the whole mix of the fuzzer, from devices that belong and others."""
    path = platform_path
    await path.know(*devices())
    pids = {part: path.stack.pid(part) for part in ("ingest-gateway", "ingest-writer")}
    mix = Mix(SEED, now_us() - 1_800_000_000)

    delivered = await send(path.stack.ports.mosquitto, mix)
    await until_reached(delivered, lambda: seen(path), "messages that the gateway has")
    assert await seen(path) == delivered
    await until_reached(total(mix), lambda: stored(path, mix), "rows")
    assert {part: path.stack.pid(part) for part in pids} == pids  # nobody died
    await asyncio.to_thread(path.stack.stop_part, "ingest-gateway")  # it says the numbers of its last minute

    rows = {row["key"]: row for row in await path.fetch(ROWS, keys(mix))}
    for key, name in named(mix).items():
        assert (name, rows[key]["n"]) == (name, mix.expected.rows[name])
        assert (name, rows[key]["total"]) == (name, mix.expected.sums[name])
    await until_reached(mix.expected.rejected.total(), lambda: rejected(path), "rejections")
    found = await path.fetch(REJECTED)
    assert Counter({(r["tenant"], r["device"], r["reason"]): r["n"] for r in found}) == mix.expected.rejected
    for row in found:
        assert row["told"] >= min(10, row["n"]), row
        assert (row["kept"] == 0) == (row["reason"] == "DEVICE_ERASED"), row
    strange = "select count(*) from telemetry where device_key <> all ($1::int[])"
    mutants = [device.device_key for device in devices() if device.device == "mutant"]
    assert (await path.fetch(strange, keys(mix) + mutants))[0][0] == 0


async def test_what_the_broker_refuses_is_not_delivered(platform_path: Platform) -> None:
    path = platform_path
    await path.know(*devices())
    port = path.stack.ports.mosquitto
    before = await seen(path)
    async with client(port, f"{TENANT}/good-1") as (reader, writer):
        # Another device of the tenant, another tenant, what only the gateway publishes, and what is nobody's.
        theirs = ("good-2/telemetry", "good-1/ack", "good-1/config", "good-1/cmd")
        topics = [f"devices/{TENANT}/{name}" for name in theirs]
        topics += ["devices/other/good-1/telemetry", "devices", "$SYS/broker/uptime"]
        for mid, topic in enumerate(topics, 1):
            writer.write(mqtt_packets.publish(topic, b'{"metrics":{"temp_c":-7}}', mid=mid))
        writer.write(mqtt_packets.publish(f"devices/{TENANT}/good-1/telemetry", b"mark", mid=99))
        reasons = await answers(reader, len(topics) + 1)
    assert [reasons[mid] for mid in range(1, len(topics) + 1)] == [NOT_ALLOWED] * len(topics)

    for fatal in (
        mqtt_packets.publish(f"devices/{TENANT}/+/telemetry", b"{}", mid=1),
        mqtt_packets.publish("devices/#", b"{}", mid=1),
        mqtt_packets.publish(f"devices/{TENANT}/good-1/telemetry\0", b"{}", mid=1),
        mqtt_packets.publish(f"devices/{TENANT}/good-1/telemetry", bytes(300_000), mid=1),
        b"\x32\xff\xff\xff\xff\xff",
    ):
        async with client(port, f"{TENANT}/good-1") as (reader, writer):
            writer.write(fatal)
            with suppress(ConnectionError):
                async with asyncio.timeout(WITHIN_S):
                    rest = await reader.read()  # to the end: the broker hangs up
                assert not rest or rest[0] == mqtt_packets.DISCONNECT

    await path.until(
        "select sum(count) from rejection where device_id = 'good-1' and payload = 'mark'",
        is_true=lambda n: n == 1,
    )
    assert await seen(path) == before + 1
    assert not await path.fetch("select 1 from telemetry where temp_c = -7")


async def test_properties_that_a_message_may_have_disturb_nothing(platform_path: Platform) -> None:
    path = platform_path
    [sensor] = [device for device in devices() if device.device == "good-9"]
    await path.know(*devices())
    user = b"\x26" + (b"\xff\xff" + b"k" * 65_535) + (b"\xff\xff" + b"v" * 65_535)
    properties = b"\x01\x00" + b"\x02\x00\x00\xff\xff" + b"\x08\x00\x05reply" + b"\x09\x00\x02\x00\xff" + user
    payload = b'{"metrics":{"soc_pct":55},"ts":%d}' % (now_us() // 1_000_000)
    async with client(path.stack.ports.mosquitto, f"{TENANT}/good-9") as (reader, writer):
        writer.write(with_properties(f"devices/{TENANT}/good-9/telemetry", payload, properties))
        assert await answers(reader, 1) == {1: 0}

    await path.until(
        "select max(soc_pct) from telemetry where device_key = $1",
        sensor.device_key,
        is_true=lambda n: n == 55,
    )


# How it is sent and what is waited for.


@asynccontextmanager
async def client(
    port: int, user: str = ""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of our own, since libraries refuse to send what is wrong."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        name = user or f"fuzz-{time.monotonic_ns()}"
        writer.write(mqtt_packets.connect(name, username=user, keepalive_s=0, clean_start=True))
        [(kind, body)] = await packets(reader)
        assert (kind, mqtt_packets.read_connack(body).reason) == (mqtt_packets.CONNACK, 0)
        yield reader, writer
    finally:
        writer.close()


async def packets(reader: asyncio.StreamReader) -> list[tuple[int, bytes]]:
    """At least one, whole."""
    data = b""
    async with asyncio.timeout(WITHIN_S):
        while True:
            more = await reader.read(65_536)
            assert more, "the broker hung up"
            data += more
            found, used = mqtt_packets.split(data)
            if used == len(data):
                return found


async def answers(reader: asyncio.StreamReader, count: int) -> dict[int, int]:
    """Reasons by packet id."""
    found: dict[int, int] = {}
    while len(found) < count:
        found |= dict(mqtt_packets.read_puback(body) for _, body in await packets(reader))
    return found


async def send(port: int, mix: Mix) -> int:
    """All of the mix: telemetry on a connection that may speak for all, words each as their device."""
    # Without a user name the development broker lets anybody speak for anybody: the gateway has to judge.
    async with client(port) as everybody, client(port, f"{TENANT}/bad-0") as one:
        for start in range(0, MESSAGES, WINDOW):
            shots = [mix.draw() for _ in range(min(WINDOW, MESSAGES - start))]
            words = [shot for shot in shots if not shot.topic.endswith("/telemetry")]
            await asyncio.gather(
                volley(everybody, [shot for shot in shots if shot.topic.endswith("/telemetry")]),
                volley(one, words),
            )
            if (start + WINDOW) % 50_000 == 0:
                print(f"fuzz: {start + WINDOW:,} of {MESSAGES:,} messages sent", file=sys.stderr, flush=True)
    return mix.expected.messages


async def volley(line: tuple[asyncio.StreamReader, asyncio.StreamWriter], shots: list[Shot]) -> None:
    """Send, and wait until the broker has them all."""
    reader, writer = line
    for mid, shot in enumerate(shots, 1):
        writer.write(mqtt_packets.publish(shot.topic, shot.payload, mid=mid, content_type=shot.content_type))
    await writer.drain()
    if shots:
        assert set((await answers(reader, len(shots))).values()) == {0}


def with_properties(topic: str, payload: bytes, properties: bytes) -> bytes:
    """QoS 1 with packet id 1."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + b"\0\1" + length(len(properties)) + properties + payload
    return b"\x32" + length(len(body)) + body


def length(size: int) -> bytes:
    encoded = bytearray()
    while size >= 0x80:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*encoded, size])


async def seen(path: Platform) -> float:
    """Messages that the gateway is done with."""
    return await metric(path.stack.ports.gateway_health, "ingest_messages_total")


async def stored(path: Platform, mix: Mix) -> float:
    """Rows of the devices that are known exactly."""
    found = await path.fetch(f"select sum(n) from ({ROWS}) r", keys(mix))
    return float(found[0][0])


async def rejected(path: Platform) -> float:
    query = "select coalesce(sum(count), 0) from rejection where coalesce(device_id, '') <> 'mutant'"
    return float((await path.fetch(query))[0][0])


async def until_reached(wanted: float, look: Callable[[], Awaitable[float]], what: str) -> None:
    """As long as it goes on."""
    last, ends = -1.0, time.monotonic() + WITHIN_S
    while (now := await look()) < wanted:
        if now > last:
            last, ends = now, time.monotonic() + WITHIN_S
        assert time.monotonic() < ends, f"{what}: {now:.0f} of {wanted:.0f}, and no more come"
        await asyncio.sleep(0.5)


def named(mix: Mix) -> dict[int, str]:
    """Devices whose rows are known exactly, by key."""
    return {device.device_key: device.device for device in devices() if device.device != "mutant"}


def keys(mix: Mix) -> list[int]:
    return list(named(mix))


def total(mix: Mix) -> int:
    return mix.expected.rows.total()
