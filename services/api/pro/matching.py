"""What a scan of a customer's network found, against the devices that we know (H-047). Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One address that answered. `match`: its MAC is that of a device we know."""

    host: str
    host_mac: str | None
    match: bool
    device_id: str | None
    known_host: str | None
    to_save: Mapping[str, str]
    """what is worth saving: the new address of a known MAC, the MAC of a known address"""


def matches(found: Iterable[tuple[str, str | None]], devices: Sequence[Mapping[str, Any]]) -> list[Match]:
    """(address, MAC or None where it is not visible) against devices with `host` and `host_mac`."""
    by_mac = {each["host_mac"]: each for each in devices if each["host_mac"]}
    by_host = {each["host"]: each for each in devices if each["host"] and not each["host_mac"]}
    return [
        _match(host, mac.lower().replace("-", ":") if mac else None, by_mac, by_host) for host, mac in found
    ]


def _match(host: str, mac: str | None, by_mac: Mapping[str, Any], by_host: Mapping[str, Any]) -> Match:
    to_save: dict[str, str] = {}
    if device := by_mac.get(mac or ""):
        if device["host"] != host:
            to_save = {"host": host}
    elif (device := by_host.get(host)) and mac:
        to_save = {"host_mac": mac}
    return Match(
        host=host,
        host_mac=mac,
        match=mac in by_mac,
        device_id=device["device_id"] if device else None,
        known_host=device["host"] if device else None,
        to_save=to_save,
    )
