"""Mutual TLS is the gateway's only way in production, and the local broker has no plain port there."""

from pathlib import Path

import pytest

from scripts.local import mosquitto
from scripts.local.ports import Ports
from services.ingest.settings import Settings, refuse_plain_mqtt
from services.provisioning.brokers.wiring import a_keeper
from services.provisioning.settings import Settings as ProvisioningSettings

FILES = {"mqtt_ca": Path("root.pem"), "mqtt_cert": Path("own.pem"), "mqtt_key": Path("own.key")}


def test_production_refuses_a_gateway_without_tls() -> None:
    with pytest.raises(SystemExit, match="MQTT_CA, MQTT_CERT and MQTT_KEY are not set"):
        refuse_plain_mqtt(Settings(environment="production"))


def test_with_all_three_files_or_in_development_it_may_start() -> None:
    refuse_plain_mqtt(Settings(environment="production", **FILES))
    refuse_plain_mqtt(Settings(environment="development"))


@pytest.mark.parametrize("missing", sorted(FILES))
def test_two_of_the_three_files_are_a_mistake(missing: str) -> None:
    given = {name: path for name, path in FILES.items() if name != missing}

    with pytest.raises(ValueError, match="MQTT_CA, MQTT_CERT and MQTT_KEY belong together"):
        Settings(**given)


def test_in_production_mosquitto_has_no_port_for_a_name_alone(tmp_path: Path) -> None:
    ports = Ports()

    def listening(environment: str) -> set[int]:
        return set(mosquitto.part(tmp_path, ports, {"ENVIRONMENT": environment}).ports.values())

    assert listening("development") == {1883, 8883, 8884}
    assert listening("production") == {8883, 8884}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"environment": "production"}, "BROKER_KIND is none"),
        ({"broker_kind": "mosquitto"}, "BROKER_KIND=mosquitto needs MOSQUITTO_DIR"),
        (
            {"broker_kind": "mosquitto", "mosquitto_dir": Path("/m"), "authority_dir": Path("/nowhere")},
            "AUTHORITY_DIR: cannot read /nowhere/root.pem",
        ),
    ],
)
async def test_a_broker_that_nobody_could_keep_is_told_at_the_start(
    settings: dict[str, object], sentence: str
) -> None:
    with pytest.raises(SystemExit, match=sentence):
        async with a_keeper(ProvisioningSettings(**settings), pool=None):  # type: ignore[arg-type]
            pass
