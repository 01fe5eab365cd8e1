"""The broker's rules: Mosquitto's file and EMQX's say the same; nothing else is allowed to a device."""

import re
from pathlib import Path

from overwatt.topics import BEATS
from scripts.local.mosquitto import ACL

EMQX = Path(__file__).parents[2] / "compose" / "emqx" / "acl.conf"
UP = {"telemetry", "status", "reply", "event"}
DOWN = {"cmd", "ack", "config"}


def rules() -> dict[str, set[tuple[str, str]]]:
    """Who (`anonymous`, a user name, `pattern`) to (access, topic)."""
    found: dict[str, set[tuple[str, str]]] = {}
    who = "anonymous"
    for line in ACL.read_text().splitlines():
        match line.split():
            case ["user", name]:
                who = name
            case ["topic", access, topic]:
                found.setdefault(who, set()).add((access, topic))
            case ["pattern", access, topic]:
                found.setdefault("pattern", set()).add((access, topic))
            case [] | ["#", *_]:
                pass
            case other:
                raise AssertionError(f"unknown rule {other}")
    return found


def test_a_device_writes_up_and_reads_down_on_its_own_topics_only() -> None:  # P-033
    up = {("write", f"devices/%u/{kind}") for kind in UP}
    down = {("read", f"devices/%u/{kind}") for kind in DOWN}

    assert rules()["pattern"] == up | down


def test_without_a_name_telemetry_can_be_sent_and_nothing_read() -> None:
    assert rules()["anonymous"] == {("write", "devices/+/+/telemetry")}


def test_each_gateway_reads_what_devices_write_writes_what_they_read_and_clears_a_status() -> None:
    gateways = {name: granted for name, granted in rules().items() if name.startswith("svc-")}
    up = {("read", f"devices/+/+/{kind}") for kind in UP}
    down = {("write", f"devices/+/+/{kind}") for kind in {*DOWN, "status"}}

    assert sorted(gateways) == [f"svc-ingest-{n}" for n in range(4)]
    each_other = {("read", BEATS), ("write", BEATS)}
    assert all(granted == up | down | each_other for granted in gateways.values())
    assert set(rules()) == {"anonymous", "pattern", *gateways}


def test_emqx_knows_the_same_topics() -> None:
    text = EMQX.read_text().replace("${username}", "%u")
    known = set(re.findall(r'"((?:devices|gateways)/[^"]+)"', text))

    assert known == {topic for granted in rules().values() for _, topic in granted}
