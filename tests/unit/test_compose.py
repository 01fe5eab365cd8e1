"""The compose files and the image recipe, read as text: what an operator relies on."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


class _Loader(yaml.SafeLoader):
    """Understands Compose's !reset and !override."""


def _plain(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Loader.add_multi_constructor("!", _plain)


def load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load((ROOT / "compose" / name).read_text(), _Loader)
    return document


SERVICES = load("docker-compose.yml")["services"]
ONE_SHOT = {"migrate", "topics"}


def test_every_package_on_disk_is_copied_into_the_image() -> None:  # P-006
    copied = set(re.findall(r"^COPY (\S+) \S+$", (ROOT / "compose/Dockerfile").read_text(), re.M))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "scripts"}
    assert packages <= copied
    assert "proto/overwatt" in copied


def test_the_image_runs_as_user_1000() -> None:  # T-059
    recipe = (ROOT / "compose/Dockerfile").read_text()
    assert "useradd --uid 1000" in recipe
    assert recipe.count("\nUSER app") == recipe.count("\nFROM base AS")


def test_services_have_the_names_that_operators_type() -> None:  # P-002, P-003
    assert {"postgres", "ingest", "api", "emqx", "kafka", "redis", "pgbouncer"} <= set(SERVICES)
    assert SERVICES["api"]["networks"]["default"]["aliases"] == ["ui"]
    assert SERVICES["simulator"]["profiles"] == ["simulator"]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_every_service_has_a_health_check(name: str) -> None:  # T-027
    assert SERVICES[name]["healthcheck"]["test"]


def test_our_own_services_are_built_here() -> None:  # P-005
    for name in ("ingest", "ingest-writer", "controller", "escalation", "provisioning", "api"):
        assert SERVICES[name]["build"]["target"] == "cloud"


def test_data_survives_down_in_named_volumes() -> None:  # P-004
    volumes = load("docker-compose.yml")["volumes"]
    assert {"postgres-data", "redis-data", "kafka-data", "emqx-data"} <= set(volumes)


def test_the_database_has_the_documented_name_and_user() -> None:  # P-012, P-013, T-054
    postgres = SERVICES["postgres"]
    assert postgres["environment"]["POSTGRES_USER"] == "iot"
    assert postgres["environment"]["POSTGRES_DB"] == "iotcloud"
    assert "pg_isready -U iot -d iotcloud" in postgres["healthcheck"]["test"][1]
    assert "edoburu/pgbouncer:latest" in SERVICES["pgbouncer"]["image"]  # P-024


def test_every_image_can_be_replaced_by_a_variable() -> None:
    for name, service in SERVICES.items():
        assert service["image"].startswith("${"), name


def test_development_listens_on_loopback_only() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), (name, port)


def test_production_has_no_default_secret_and_no_plain_mqtt() -> None:  # P-061, T-056
    text = (ROOT / "compose/docker-compose.prod.yml").read_text()
    production = load("docker-compose.prod.yml")["services"]
    assert "iot_dev" not in text
    assert "change-me" not in text
    for secret in ("POSTGRES_PASSWORD", "SERVICE_PASSWORD", "PROVISION_ADMIN_KEY", "EMQX_COOKIE"):
        assert f"${{{secret}:?" in text
    assert production["emqx"]["environment"]["EMQX_LISTENERS__TCP__DEFAULT__ENABLE"] == "false"
    assert not any("1883" in port for port in production["emqx"]["ports"])
