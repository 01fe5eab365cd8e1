"""What the agent reads from its environment (D-007 to D-016), with errors that name the variable.

An enrolled box has its names, its broker and its assets from the identity directory. Else ASSET_ID set: one
asset, described by variables. Else SITE_ID and ASSETS_PATH: a gateway for all assets of the site in that
file. Read once, by `__main__`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import yaml

from edge_agent.errors import Invalid
from edge_agent.identity import BOX, BoxIdentity, identity_directory, load, state_directory
from overwatt.inventory import TYPES, Asset, InventoryError, Site, parse_inventory
from overwatt.topics import DEVICE, TENANT, is_device, is_tenant

MQTT_PORT: Final = 1883
MOST_DEADMAN_S: Final = 43_200
"""SunSpec's revert timers count to 65,534 s at most."""
LEVELS: Final = ("debug", "info", "warning", "error")
_ALIASES: Final = {"trace": "debug", "warn": "warning"}
_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("", "0", "false", "no", "off")
_MODES: Final = (
    "set ASSET_ID for a single asset, or SITE_ID and ASSETS_PATH for a gateway of all assets of a site"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One agent."""

    mqtt_host: str
    mqtt_port: int
    tenant: str
    device: str
    """its own id: ASSET_ID, or GATEWAY_ID"""
    mode: str
    """single or gateway"""
    site: str
    site_name: str
    assets: tuple[Asset, ...]
    spool_path: Path
    spool_max_bytes: int
    telemetry_interval_s: float
    window_s: float
    """how much live data may be on its way unanswered"""
    deadman_s: float
    clock_trusted: bool
    log_level: str
    identity: BoxIdentity | None = None
    """of an enrolled box; None speaks plain MQTT, for development"""


def read_settings(env: Mapping[str, str]) -> Settings:
    """Raises Invalid, naming the variable, its value and what would be right."""
    if box := _identity(env):
        host, port, tenant = box.mqtt_host, box.mqtt_port, box.tenant
        mode, device, site = _what_of_box(env, box)
    else:
        host, port = _broker(env)
        tenant = env.get("TENANT_ID") or "default"
        if not is_tenant(tenant):
            raise Invalid(f"TENANT_ID is {tenant!r}; it must match {TENANT.pattern}")
        mode, device, site = _what(env)
    return Settings(
        identity=box,
        mqtt_host=host,
        mqtt_port=port,
        tenant=tenant,
        device=device,
        mode=mode,
        site=site.id,
        site_name=site.name,
        assets=site.assets,
        spool_path=_spool_path(env, tenant, device),
        spool_max_bytes=int(_number(env, "SPOOL_MAX_MB", 256, least=1) * 1_048_576),
        telemetry_interval_s=_number(env, "TELEMETRY_INTERVAL_MS", 4000, least=100) / 1000,
        window_s=_number(env, "WINDOW_S", 30, least=1),
        deadman_s=_number(env, "DEADMAN_S", 120, least=1, most=MOST_DEADMAN_S),
        clock_trusted=_flag(env, "CLOCK_TRUSTED"),
        log_level=_level(env),
    )


def _identity(env: Mapping[str, str]) -> BoxIdentity | None:
    """IDENTITY_DIR; else the usual place, if this box was enrolled and no broker is named."""
    directory = identity_directory(env)
    if env.get("IDENTITY_DIR"):
        return load(directory)
    names_a_broker = any(env.get(name) for name in ("MQTT_HOST", "HEADEND_MQTT", "HEADEND_GRPC"))
    is_declined = "IDENTITY_DIR" in env
    if names_a_broker or is_declined or not (directory / BOX).exists():
        return None
    return load(directory)


def _what_of_box(env: Mapping[str, str], box: BoxIdentity) -> tuple[str, str, Site]:
    """ASSET_ID and ASSETS_PATH go before what the cloud said at enrolment; the box stays who it is."""
    if env.get("ASSET_ID"):
        mode, _, site = _what(env)
        return mode, box.box, site
    site_id = env.get("SITE_ID") or env.get("GATEWAY_SITE_ID") or box.site
    if path := env.get("ASSETS_PATH"):
        return "gateway", box.box, _site_of_file(site_id, Path(path))
    if box.assets_path.exists():
        return "gateway", box.box, _site_of_file(box.site, box.assets_path)
    return "gateway", box.box, Site(box.site, box.site_name, ())


def _broker(env: Mapping[str, str]) -> tuple[str, int]:
    """MQTT_HOST with MQTT_PORT, else HEADEND_MQTT, else HEADEND_GRPC (the name of the older product)."""
    if host := env.get("MQTT_HOST"):
        return host, _port(env, "MQTT_PORT", MQTT_PORT)
    for name in ("HEADEND_MQTT", "HEADEND_GRPC"):
        if text := env.get(name):
            return _address(name, text)
    raise Invalid(
        "HEADEND_GRPC is not set; set it (or HEADEND_MQTT, or MQTT_HOST and MQTT_PORT) to the broker's "
        "address, for example HEADEND_GRPC=http://127.0.0.1:1883"
    )


def _address(name: str, text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(text if "://" in text else f"mqtt://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise Invalid(f"{name} is {text!r}; it must be an address as host:port or mqtt://host:port")
    return host, port or MQTT_PORT


def _what(env: Mapping[str, str]) -> tuple[str, str, Site]:
    site_id = env.get("SITE_ID") or env.get("GATEWAY_SITE_ID") or ""
    if asset_id := env.get("ASSET_ID"):
        asset = _single_asset(env, asset_id, site_id)
        return "single", asset_id, Site(asset.site_id, asset.site_name, (asset,))
    missing = [
        name for name, value in (("SITE_ID", site_id), ("ASSETS_PATH", env.get("ASSETS_PATH"))) if not value
    ]
    if len(missing) == 2:
        raise Invalid(f"ASSET_ID, SITE_ID and ASSETS_PATH are not set; {_MODES}")
    if missing:
        raise Invalid(f"{missing[0]} is not set; {_MODES}")
    site = _site_of_file(site_id, Path(env["ASSETS_PATH"]))
    gateway = env.get("GATEWAY_ID") or site_id
    if not is_device(gateway):
        raise Invalid(f"GATEWAY_ID is {gateway!r}; it must match {DEVICE.pattern}")
    return "gateway", gateway, site


def _site_of_file(site_id: str, path: Path) -> Site:
    try:
        sites = parse_inventory(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Invalid(f"ASSETS_PATH {path} cannot be read: {error}") from error
    except InventoryError as error:
        raise Invalid(f"ASSETS_PATH {path}: {error}") from error
    for site in sites:
        if site.id == site_id:
            if not site.assets:
                raise Invalid(f"SITE_ID is {site_id!r}; that site has no assets in {path}")
            return site
    known = ", ".join(site.id for site in sites) or "none"
    raise Invalid(f"SITE_ID is {site_id!r}; {path} has these sites: {known}")


def _single_asset(env: Mapping[str, str], asset_id: str, site_id: str) -> Asset:
    for name, value in (("ASSET_ID", asset_id), ("SITE_ID", site_id)):
        if value and not is_device(value):
            raise Invalid(f"{name} is {value!r}; it must match {DEVICE.pattern}")
    kind = env.get("ASSET_TYPE") or "battery"
    if kind not in TYPES:
        raise Invalid(f"ASSET_TYPE is {kind!r}; it must be one of {', '.join(TYPES)}")
    max_mw = _number(env, "MAX_MW", 0.0)
    min_mw = _number(env, "MIN_MW", -max_mw if kind == "battery" else 0.0)
    if min_mw > max_mw:
        raise Invalid(f"MIN_MW is {min_mw:g}; it must not be above MAX_MW, which is {max_mw:g}")
    efficiency = _number(env, "EFFICIENCY", 1.0)
    if not 0 < efficiency <= 1:
        raise Invalid(f"EFFICIENCY is {efficiency:g}; it must be above 0 and at most 1")
    ramp = _number(env, "RAMP_RATE_MW_PER_MIN", math.inf)
    if ramp <= 0:
        raise Invalid(f"RAMP_RATE_MW_PER_MIN is {ramp:g}; it must be above 0")
    place = {"host": env.get("DEVICE_HOST"), "port": _port(env, "DEVICE_PORT", 502)}
    place["unit"] = int(_number(env, "DEVICE_UNIT", 1, least=0))
    return Asset(
        id=asset_id,
        site_id=site_id,
        site_name=env.get("SITE_NAME") or site_id,
        name=env.get("ASSET_NAME") or asset_id,
        type=kind,
        location=env.get("ASSET_LOCATION") or "",
        capacity_mwh=_number(env, "CAPACITY_MWHR", 0.0, least=0),
        max_mw=max_mw,
        min_mw=min_mw,
        efficiency=efficiency,
        ramp_rate_mw_per_min=None if math.isinf(ramp) else ramp,
        driver=env.get("DRIVER") or ("sunspec" if env.get("DEVICE_HOST") else "simulated"),
        extra={key: value for key, value in place.items() if value is not None},
    )


def _number(
    env: Mapping[str, str],
    name: str,
    default: float,
    *,
    least: float = -math.inf,
    most: float = math.inf,
) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Invalid(f"{name} is {text!r}; it must be a number")
    if value < least:
        raise Invalid(f"{name} is {text!r}; it must be at least {least:g}")
    if value > most:
        raise Invalid(f"{name} is {text!r}; it must be at most {most:g}")
    return value


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name)
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise Invalid(f"{name} is {text!r}; it must be a TCP port, 1 to 65535")
    return int(text)


def _flag(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "").lower()
    if text not in _TRUE + _FALSE:
        raise Invalid(f"{name} is {text!r}; it must be 1 or 0")
    return text in _TRUE


def _level(env: Mapping[str, str]) -> str:
    """LOG_LEVEL, else the general level of RUST_LOG (`info` of `info,some_crate=debug`; D-015)."""
    name = "LOG_LEVEL" if env.get("LOG_LEVEL") else "RUST_LOG"
    parts = [part.strip().lower() for part in env.get(name, "").split(",") if part and "=" not in part]
    level = _ALIASES.get(parts[0], parts[0]) if parts else "info"
    if level not in LEVELS:
        raise Invalid(f"{name} is {env[name]!r}; it must be one of {', '.join(LEVELS)}")
    return level


def _spool_path(env: Mapping[str, str], tenant: str, device: str) -> Path:
    if path := env.get("SPOOL_PATH"):
        return Path(path)
    return state_directory(env) / f"{tenant}.{device}.sqlite"
