"""`make bench-ingest`: points a second from agents' batches to committed rows, beside raw COPY of them.

Everything is real and on this machine: Mosquitto (QoS 1), the gateway, Kafka (acks=all, idempotent), the
writer, PostgreSQL (synchronous_commit on), rollups running. The load is what agents send after an outage:
60 samples of 8 canonical quantities a message. It is kept a bounded number of samples ahead of the
database, so that what is measured is a pace that holds. Afterwards the same rows are copied by one COPY
into an identical table, in the same run: the ratio says what the path costs.

It is a first measure: a short run on an empty table. The longer ones of the telemetry promise (ten minutes,
preloaded tables, late and repeated samples) are not this command yet.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import numpy as np
import paho.mqtt.client as paho
import yaml
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from overwatt.quantities import QUANTITIES
from overwatt.topics import PROTOBUF, topic
from overwatt.v1.telemetry_pb2 import Batch, Block, Column
from scripts.bench_stack import a_home, a_stack, report, run
from scripts.local.ports import HOST
from scripts.local.problem import Problem
from scripts.local.stack import Stack

SAMPLES: Final = 60
FILLED: Final = 8
AHEAD_ROWS: Final = 400_000
"""The most that is on its way: half a second at the goal of a million points a second, several here."""
PARTS: Final = ("mosquitto", "ingest-gateway", "kafka", "ingest-writer", "postgres")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Result:
    """Points are values: a sample has eight."""

    points_per_s: float
    rows_per_s: float
    seconds: float
    raw_copy_points_per_s: float
    ratio_to_raw_copy: float
    cpu_cores: dict[str, float]
    """by process, of this command too"""
    storage: str
    devices: int
    agents: int
    load_1m_before: float

    def line(self) -> str:
        """For people."""
        cpu = ", ".join(f"{name} {cores:.2f}" for name, cores in self.cpu_cores.items())
        return (
            f"{self.points_per_s:,.0f} points/s over {self.seconds:.0f} s, {self.ratio_to_raw_copy:.2f} of "
            f"raw COPY ({self.raw_copy_points_per_s:,.0f} points/s) on {self.storage}; CPU cores: {cpu}"
        )


def write_inventory(path: Path, agents: int, devices: int) -> None:
    """One gateway agent a site, `devices` assets each."""
    sites = [
        {
            "id": f"site-{a}",
            "assets": [{"id": f"d-{a}-{d}", "type": "meter"} for d in range(devices)],
        }
        for a in range(agents)
    ]
    path.write_text(yaml.safe_dump({"sites": sites}))


def batches(agents: int, devices: int) -> Iterator[tuple[str, bytes]]:
    """Topics and payloads without end: each device's time goes on by a minute a batch."""
    chance = np.random.default_rng(1)
    columns = [
        Column(
            quantity=quantity.number, values=np.round(chance.normal(size=SAMPLES), 3).astype("<f8").tobytes()
        )
        for quantity in QUANTITIES[:FILLED]
    ]
    offsets = np.arange(SAMPLES, dtype="<u4").tobytes()
    seconds = np.arange(SAMPLES, dtype="<i8") * 1_000_000
    start_us = int(time.time() - 86_400) // 86_400 * 86_400 * 1_000_000
    for number in range(sys.maxsize):
        for agent in range(agents):
            device = f"d-{agent}-{number % devices}"
            batch = Batch(
                epoch=agent + 1,
                first_seq=1 + number * SAMPLES,
                blocks=[
                    Block(
                        asset=device,
                        ts_us=(seconds + start_us + number // devices * SAMPLES * 1_000_000).tobytes(),
                        seq_offset=offsets,
                        columns=columns,
                    )
                ],
            )
            yield topic("default", f"site-{agent}", "telemetry"), batch.SerializeToString()


class Load:
    """Publishes from a thread, at most AHEAD_ROWS before what is stored."""

    def __init__(self, port: int, agents: int, devices: int) -> None:
        self.stored = 0
        self.sent = 0
        self._source = batches(agents, devices)
        self._stop = threading.Event()
        self._mqtt = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._mqtt.max_inflight_messages_set(1_000)
        self._mqtt.connect(HOST, port)
        self._mqtt.loop_start()
        self._properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        self._properties.ContentType = PROTOBUF
        self._thread = threading.Thread(target=self._run, name="load")
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._mqtt.disconnect()
        self._mqtt.loop_stop()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self.sent - self.stored > AHEAD_ROWS:
                time.sleep(0.002)
                continue
            name, payload = next(self._source)
            self._mqtt.publish(name, payload, qos=1, properties=self._properties)
            self.sent += SAMPLES


async def measure(
    stack: Stack, load: Load, warm_up_s: float, seconds: float
) -> tuple[float, float, dict[str, float]]:
    """Rows and seconds of the measured window, and cores by process."""
    connection = await asyncpg.connect(stack.env()["DATABASE_URL"])
    # The committed ranges say how far the writer is without counting the table.
    query = "select coalesce(sum(upper(r) - lower(r)), 0)::bigint from ingest_committed, unnest(ranges) r"
    end_s = time.monotonic() + warm_up_s + seconds
    first: tuple[float, int, dict[str, float]] | None = None
    while time.monotonic() < end_s:
        load.stored = await connection.fetchval(query)
        if first is None and time.monotonic() > end_s - seconds and load.stored:
            first = (time.monotonic(), load.stored, cpu_s(stack))
        await asyncio.sleep(0.1)
    stored = await connection.fetchval(query)
    await connection.close()
    if first is None or stored <= first[1]:
        raise Problem(f"nothing was stored in {seconds:g} s: see {stack.home / 'log'}")
    elapsed_s = time.monotonic() - first[0]
    used = {name: (cpu - first[2][name]) / elapsed_s for name, cpu in cpu_s(stack).items()}
    return stored - first[1], elapsed_s, used


def cpu_s(stack: Stack) -> dict[str, float]:
    """CPU seconds so far: a part with its children, and this process."""
    parents: dict[int, list[int]] = {}
    own: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        parents.setdefault(int(fields[1]), []).append(pid)
        own[pid] = (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def family(pid: int) -> float:
        return own.get(pid, 0.0) + sum(family(child) for child in parents.get(pid, []))

    found = {name: family(stack.pid(name) or 0) for name in PARTS}
    return {**found, "load generator": own[os.getpid()]}


async def raw_copy(database_url: str) -> tuple[float, int]:
    """Seconds for one COPY of all stored rows into an identical table, and how many they are."""
    connection = await asyncpg.connect(database_url, command_timeout=600)
    with tempfile.TemporaryFile() as rows:
        await connection.copy_from_query("select * from telemetry order by ts", output=rows, format="binary")
        rows.seek(0)
        days = await connection.fetch("select distinct ts::date as day from telemetry")
        await connection.execute(
            "create table raw_copy (like telemetry including all) partition by range (ts)"
        )
        for (day,) in days:
            await connection.execute(
                f"create table raw_copy_{day:%Y%m%d} partition of raw_copy "
                f"for values from ('{day}') to ('{day}'::date + 1)"
            )
        begun_s = time.monotonic()
        status = await connection.copy_to_table("raw_copy", source=rows, format="binary")
        elapsed_s = time.monotonic() - begun_s
    await connection.close()
    return elapsed_s, int(status.split()[-1])


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30, help="the measured window (30)")
    parser.add_argument(
        "--warm-up", type=float, default=20, help="before it, so that Kafka's code is hot (20)"
    )
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--devices", type=int, default=10, help="of each agent (10)")
    wanted = parser.parse_args()
    os.environ.setdefault("KAFKA_JVM_OPTS", "")
    with a_home() as home, ExitStack() as on_exit:
        assets = home / "assets.yaml"
        write_inventory(assets, wanted.agents, wanted.devices)
        load_before = os.getloadavg()[0]
        stack = on_exit.enter_context(a_stack(home, {"ASSETS_PATH": str(assets)}))
        stack.up()
        load = Load(stack.ports.mosquitto, wanted.agents, wanted.devices)
        try:
            rows, seconds, cores = asyncio.run(measure(stack, load, wanted.warm_up, wanted.seconds))
        finally:
            load.stop()
        for part in ("ingest-gateway", "ingest-writer", "api", "escalation", "controller"):
            stack.stop_part(part)
        copy_s, copied = asyncio.run(raw_copy(stack.env()["DATABASE_URL"]))
    result = Result(
        points_per_s=rows * FILLED / seconds,
        rows_per_s=rows / seconds,
        seconds=seconds,
        raw_copy_points_per_s=copied * FILLED / copy_s,
        ratio_to_raw_copy=(rows / seconds) / (copied / copy_s),
        cpu_cores={name: round(used, 3) for name, used in cores.items()},
        storage="plain PostgreSQL, day partitions, unique (device_key, ts)",
        devices=wanted.agents * wanted.devices,
        agents=wanted.agents,
        load_1m_before=load_before,
    )
    report(result)


if __name__ == "__main__":
    run(main)
