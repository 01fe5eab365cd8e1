"""`make bench-registry`: how the gateway starts with 100,000 devices, and how fast a change is in force.

Real Kafka, PostgreSQL, Mosquitto, provisioning and gateway in a home of their own. A quarter of the devices
are agents of boxes and the rest their assets, so every one of them has a configuration that the gateway
publishes, retained, after its start. Printed: JSON, and a line for people.

- start: from the gateway's start to ready, which means connected and knowing every device
- memory: resident, when it is ready, and the most until every configuration is published
- change: from the POST of a mode to the configuration with it in the hand of the box, over the database,
  Kafka, the gateway and the broker
"""

import argparse
import json
import os
import queue
import statistics
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from overwatt.v1.agent_pb2 import Config
from scripts.bench_stack import a_home, a_stack, report, run
from scripts.local.ports import HOST
from scripts.local.problem import Problem
from scripts.local.stack import Stack

ASSETS_OF_A_BOX: Final = 3
TENANTS: Final = 100
WITHIN_S: Final = 300.0
FILL: Final = """
insert into tenant (tenant_id, name) select 't' || t, 't' || t from generate_series(0, {tenants} - 1) t;
insert into site (tenant_id, site_id, name)
  select 't' || b % {tenants}, 'box-' || b, 'Site ' || b from generate_series(1, {boxes}) b;
insert into box (tenant_id, box_id, site_id, source)
  select tenant_id, site_id, site_id, 'admin' from site;
insert into device (tenant_id, device_id, site_id, box_id, type, name, assets)
  select tenant_id, site_id, site_id, site_id, 'agent', name,
    array(select site_id || '-' || a from generate_series(1, {assets}) a) from site;
insert into device (tenant_id, device_id, site_id, box_id, type, name)
  select tenant_id, site_id || '-' || a, site_id, site_id, 'battery', 'Battery ' || a
  from site, generate_series(1, {assets}) a;
"""


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds and bytes."""

    devices: int
    publish_s: float
    gateway_start_s: float
    gateway_start_cpu_s: float
    gateway_ready_rss_bytes: int
    gateway_peak_rss_bytes: int
    configs_published_s: float
    changes: int
    change_p50_s: float
    change_max_s: float
    cores: int
    load_1m: float

    def line(self) -> str:
        """For people."""
        return (
            f"{self.devices} devices: gateway ready after {self.gateway_start_s:.1f} s "
            f"({self.gateway_start_cpu_s:.1f} s of CPU) with {self.gateway_ready_rss_bytes / 1e6:.0f} MB "
            f"(most {self.gateway_peak_rss_bytes / 1e6:.0f} MB, "
            f"all configurations out after {self.configs_published_s:.0f} s); a change in force after "
            f"p50 {self.change_p50_s:.2f} s, longest {self.change_max_s:.2f} s ({self.changes} changes)"
        )


class Box:
    """A box that hears its configuration; by name on the plain port."""

    def __init__(self, port: int, name: str) -> None:
        self._heard: queue.Queue[Config] = queue.Queue()
        self._mqtt = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
        self._mqtt.username = name
        self._mqtt.on_connect = lambda client, *_: client.subscribe(f"devices/{name}/config", 1)
        self._mqtt.on_message = lambda _, __, message: self._heard.put(
            Config.FromString(bytes(message.payload))
        )
        self._mqtt.connect(HOST, port)
        self._mqtt.loop_start()

    def until(self, mode: str) -> float:
        """When it had this mode."""
        while self._heard.get(timeout=30).mode != mode:
            pass
        return time.monotonic()

    def stop(self) -> None:
        """Leave."""
        self._mqtt.disconnect()
        self._mqtt.loop_stop()


def measure(stack: Stack, devices: int, changes: int) -> Result:
    """Fill, start, change."""
    boxes = devices // (1 + ASSETS_OF_A_BOX)
    stack.start("kafka", "postgres", "mosquitto")
    stack.migrate()
    stack.sql(FILL.format(tenants=TENANTS, boxes=boxes, assets=ASSETS_OF_A_BOX))
    begun = time.monotonic()
    stack.start("provisioning")
    published_s = time.monotonic() - begun
    begun = time.monotonic()
    stack.start("ingest-gateway")
    started_s = time.monotonic() - begun
    pid = stack.pid("ingest-gateway")
    started_cpu_s, ready_rss = _cpu_s(pid), _memory(pid, "VmRSS")
    while _configs(stack.ports.gateway_health) < devices:
        if time.monotonic() - begun > WITHIN_S:
            raise Problem(f"not all configurations were published within {WITHIN_S:.0f} s")
        time.sleep(0.2)
    configs_s = time.monotonic() - begun
    took_s = change(stack, changes)
    return Result(
        devices=devices,
        publish_s=published_s,
        gateway_start_s=started_s,
        gateway_start_cpu_s=started_cpu_s,
        gateway_ready_rss_bytes=ready_rss,
        gateway_peak_rss_bytes=_memory(pid, "VmHWM"),
        configs_published_s=configs_s,
        changes=changes,
        change_p50_s=statistics.median(took_s),
        change_max_s=max(took_s),
        cores=os.cpu_count() or 0,
        load_1m=os.getloadavg()[0],
    )


def change(stack: Stack, changes: int) -> list[float]:
    """Flip one box to and fro."""
    box = Box(stack.ports.mosquitto, "t1/box-1")
    try:
        box.until("observe")
        took_s = []
        for number in range(changes):
            mode = ("active", "observe")[number % 2]
            begun = time.monotonic()
            request = urllib.request.Request(
                f"{stack.env()['PROVISIONING_URL']}/api/admin/boxes/t1/box-1/mode",
                json.dumps({"mode": mode}).encode(),
                {"content-type": "application/json", "x-admin-key": "change-me-now"},
            )
            urllib.request.urlopen(request, timeout=10).read()
            took_s.append(box.until(mode) - begun)
        return took_s
    finally:
        box.stop()


def _configs(port: int) -> float:
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("ingest_configs_total "):
                return float(line.split()[1])
    return 0.0


def _memory(pid: int | None, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise Problem("the gateway has ended")


def _cpu_s(pid: int | None) -> float:
    """User and system time of all its threads."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=100_000, help="in the registry (100000)")
    parser.add_argument("--changes", type=int, default=20, help="how many are timed (20)")
    arguments = parser.parse_args()
    with a_home() as home, a_stack(home, {"ASSETS_PATH": ""}) as stack:
        result = measure(stack, arguments.devices, arguments.changes)
    report(result)


if __name__ == "__main__":
    run(main)
