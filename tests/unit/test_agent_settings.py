"""What the agent reads from its environment, and what it says when that is wrong (D-007 to D-016)."""

from pathlib import Path

import pytest

from edge_agent.errors import Invalid
from edge_agent.settings import Settings, read_settings

ASSETS = """
sites:
  - id: site-a
    name: Site A
    assets:
      - {id: bess-1, capacity_mwhr: 120, max_mw: 60}
      - {id: bess-2, capacity_mwhr: 40, max_mw: 20}
  - {id: site-b, assets: [{id: other, max_mw: 1}]}
  - {id: bare}
"""
BROKER = {"HEADEND_GRPC": "http://127.0.0.1:1883"}
SINGLE = BROKER | {"ASSET_ID": "bess-1", "MAX_MW": "60"}


@pytest.fixture
def gateway(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "assets.yaml"
    path.write_text(ASSETS)
    return BROKER | {"SITE_ID": "site-a", "ASSETS_PATH": str(path)}


def message(env: dict[str, str]) -> str:
    with pytest.raises(Invalid) as refused:
        read_settings(env)
    return str(refused.value)


def test_a_single_asset_is_described_by_variables() -> None:
    """D-008 to D-011, D-019."""
    settings = read_settings(
        BROKER
        | {
            "ASSET_ID": "7ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "ASSET_NAME": "SA-BESS-1",
            "ASSET_LOCATION": "Brussels",
            "SITE_ID": "site-a",
            "SITE_NAME": "Site A",
            "CAPACITY_MWHR": "120",
            "MAX_MW": "60",
            "MIN_MW": "-60",
            "EFFICIENCY": "0.92",
            "RAMP_RATE_MW_PER_MIN": "1000",
        }
    )

    (asset,) = settings.assets
    assert (settings.mode, settings.device) == ("single", "7ba7b810-9dad-11d1-80b4-00c04fd430c8")
    assert (settings.site, settings.site_name) == ("site-a", "Site A")
    assert (asset.name, asset.location, asset.capacity_mwh) == ("SA-BESS-1", "Brussels", 120)
    assert (asset.max_mw, asset.min_mw, asset.efficiency, asset.ramp_rate_mw_per_min) == (60, -60, 0.92, 1000)


def test_a_gateway_takes_all_assets_of_its_site_and_none_of_another(gateway: dict[str, str]) -> None:
    """D-012, D-013, D-038."""
    settings = read_settings(gateway)

    assert (settings.mode, settings.site_name) == ("gateway", "Site A")
    assert [asset.id for asset in settings.assets] == ["bess-1", "bess-2"]


def test_a_gateway_is_called_like_its_site_unless_it_is_told_otherwise(gateway: dict[str, str]) -> None:
    """D-014, D-033: the same environment gives the same identity."""
    assert read_settings(gateway).device == "site-a"
    assert read_settings(gateway) == read_settings(gateway)
    assert read_settings(gateway | {"GATEWAY_ID": "gw-7"}).device == "gw-7"


def test_the_old_name_of_the_site_variable_still_works(gateway: dict[str, str]) -> None:
    gateway["GATEWAY_SITE_ID"] = gateway.pop("SITE_ID")

    assert read_settings(gateway).site == "site-a"


def test_the_mode_follows_from_what_is_set(gateway: dict[str, str]) -> None:
    """D-016, X7: four combinations; ASSET_ID wins, also where ASSETS_PATH is set for everybody."""
    modes = (
        "set ASSET_ID for a single asset, or SITE_ID and ASSETS_PATH for a gateway of all assets of a site"
    )

    assert read_settings(gateway | {"ASSET_ID": "bess-1"}).mode == "single"
    assert read_settings(gateway).mode == "gateway"
    assert message(BROKER | {"SITE_ID": "site-a"}) == f"ASSETS_PATH is not set; {modes}"
    assert message(BROKER | {"ASSETS_PATH": "x"}) == f"SITE_ID is not set; {modes}"
    assert message(BROKER) == f"ASSET_ID, SITE_ID and ASSETS_PATH are not set; {modes}"


def test_a_missing_broker_names_the_variable() -> None:
    """D-007."""
    assert message({"ASSET_ID": "bess-1"}) == (
        "HEADEND_GRPC is not set; set it (or HEADEND_MQTT, or MQTT_HOST and MQTT_PORT) to the broker's "
        "address, for example HEADEND_GRPC=http://127.0.0.1:1883"
    )


@pytest.mark.parametrize(
    ("env", "host", "port"),
    [
        ({"HEADEND_GRPC": "http://10.0.0.7:50070"}, "10.0.0.7", 50070),
        ({"HEADEND_GRPC": "cloud.example"}, "cloud.example", 1883),
        ({"HEADEND_GRPC": "http://a:1", "HEADEND_MQTT": "mqtt://b:2"}, "b", 2),
        ({"HEADEND_MQTT": "b:2", "MQTT_HOST": "c"}, "c", 1883),
        ({"MQTT_HOST": "c", "MQTT_PORT": "2883"}, "c", 2883),
    ],
)
def test_the_broker_has_three_names(env: dict[str, str], host: str, port: int) -> None:
    """D-002, D-007."""
    settings = read_settings({"ASSET_ID": "bess-1"} | env)

    assert (settings.mqtt_host, settings.mqtt_port) == (host, port)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CAPACITY_MWHR", "lots", "CAPACITY_MWHR is 'lots'; it must be a number"),
        ("CAPACITY_MWHR", "-1", "CAPACITY_MWHR is '-1'; it must be at least 0"),
        ("MAX_MW", "nan", "MAX_MW is 'nan'; it must be a number"),
        ("MIN_MW", "1e999", "MIN_MW is '1e999'; it must be a number"),
        ("MIN_MW", "61", "MIN_MW is 61; it must not be above MAX_MW, which is 60"),
        ("EFFICIENCY", "1.2", "EFFICIENCY is 1.2; it must be above 0 and at most 1"),
        ("RAMP_RATE_MW_PER_MIN", "0", "RAMP_RATE_MW_PER_MIN is 0; it must be above 0"),
        ("TELEMETRY_INTERVAL_MS", "5", "TELEMETRY_INTERVAL_MS is '5'; it must be at least 100"),
        ("DEADMAN_S", "90000", "DEADMAN_S is '90000'; it must be at most 43200"),
        ("MQTT_PORT", "70000", "MQTT_PORT is '70000'; it must be a TCP port, 1 to 65535"),
        ("CLOCK_TRUSTED", "maybe", "CLOCK_TRUSTED is 'maybe'; it must be 1 or 0"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL is 'loud'; it must be one of debug, info, warning, error"),
        ("ASSET_ID", "Bess 1", "ASSET_ID is 'Bess 1'; it must match [a-z0-9][a-z0-9_-]{0,35}"),
        ("TENANT_ID", "A#", "TENANT_ID is 'A#'; it must match [a-z0-9][a-z0-9_-]{0,25}"),
        (
            "HEADEND_MQTT",
            "mqtt://:1",
            "HEADEND_MQTT is 'mqtt://:1'; it must be an address as host:port or mqtt",
        ),
    ],
)
def test_a_bad_value_is_named_with_what_would_be_right(name: str, value: str, says: str) -> None:
    """D-011."""
    env = SINGLE | ({"MQTT_HOST": "h"} if name == "MQTT_PORT" else {}) | {name: value}

    assert message(env).startswith(says)


def test_a_site_that_the_file_does_not_have_is_told_which_there_are(gateway: dict[str, str]) -> None:
    assert message(gateway | {"SITE_ID": "site-z"}).endswith("has these sites: site-a, site-b, bare")
    assert message(gateway | {"SITE_ID": "bare"}).startswith("SITE_ID is 'bare'; that site has no assets in")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    env = BROKER | {"SITE_ID": "site-a", "ASSETS_PATH": str(tmp_path / "none.yaml")}

    assert message(env).startswith(f"ASSETS_PATH {tmp_path / 'none.yaml'} cannot be read: ")


@pytest.mark.parametrize(
    ("env", "level"),
    [
        ({}, "info"),
        ({"RUST_LOG": "debug"}, "debug"),
        ({"RUST_LOG": "warn,edge=trace"}, "warning"),
        ({"RUST_LOG": "debug", "LOG_LEVEL": "ERROR"}, "error"),
    ],
)
def test_the_log_level_has_an_old_name(env: dict[str, str], level: str) -> None:
    """D-015."""
    assert read_settings(SINGLE | env).log_level == level


def test_what_is_not_said_has_defaults() -> None:
    """U-D03: a reading every 4 s."""
    settings: Settings = read_settings(SINGLE)

    assert (settings.tenant, settings.telemetry_interval_s, settings.deadman_s) == ("default", 4.0, 120)
    assert (settings.assets[0].driver, settings.assets[0].min_mw) == ("simulated", -60)
    assert read_settings(SINGLE | {"DEVICE_HOST": "10.0.0.9"}).assets[0].driver == "sunspec"
    assert settings.spool_path.name == "default.bess-1.sqlite"
