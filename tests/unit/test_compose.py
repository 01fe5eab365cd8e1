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
    for name in ("ingest", "ingest-writer", "ingest-http", "controller", "escalation", "provisioning", "api"):
        assert SERVICES[name]["build"]["target"] == "cloud"


def test_data_survives_down_in_named_volumes() -> None:  # P-004
    volumes = load("docker-compose.yml")["volumes"]
    assert {"postgres-data", "redis-data", "kafka-data", "emqx-data"} <= set(volumes)


def test_the_database_has_the_documented_name_and_user() -> None:  # P-012, P-013, T-054
    postgres = SERVICES["postgres"]
    assert postgres["environment"]["POSTGRES_USER"] == "${POSTGRES_USER:-iot}"
    assert postgres["environment"]["POSTGRES_DB"] == "${POSTGRES_DB:-iotcloud}"
    assert (
        "pg_isready -U ${POSTGRES_USER:-iot} -d ${POSTGRES_DB:-iotcloud}"
        in postgres["healthcheck"]["test"][1]
    )
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
    for secret in (
        "POSTGRES_PASSWORD",
        "SERVICE_PASSWORD",
        "PROVISION_ADMIN_KEY",
        "API_TOKEN_KEY",
        "EMQX_COOKIE",
    ):
        assert f"${{{secret}:?" in text
    assert production["emqx"]["environment"]["EMQX_LISTENERS__TCP__DEFAULT__ENABLE"] == "false"
    assert production["emqx"]["ports"] == [
        "${PUBLIC_ADDRESS:-0.0.0.0}:8883:8883",
        "${PUBLIC_ADDRESS:-0.0.0.0}:8884:8884",
    ]
    assert production["ingest"]["environment"]["MQTT_PORT"] == "8883"
    assert {"MQTT_CA", "MQTT_CERT", "MQTT_KEY"} <= set(production["ingest"]["environment"])
    assert all(
        production[name]["environment"]["ENVIRONMENT"] == "production"
        for name in (
            *("ingest", "ingest-writer", "ingest-http", "controller", "escalation", "provisioning", "api"),
            "migrate",
        )
    )


def test_in_production_a_certificate_or_a_token_is_the_only_way_to_the_broker() -> None:
    emqx = load("docker-compose.prod.yml")["services"]["emqx"]["environment"]
    tls, token = "EMQX_LISTENERS__SSL__DEFAULT__", "EMQX_LISTENERS__SSL__TOKEN__"

    assert SERVICES["emqx"]["image"] == "${EMQX_IMAGE:-emqx/emqx:5.8.9}"
    assert emqx[f"{tls}SSL_OPTIONS__VERIFY"] == "verify_peer"
    assert emqx[f"{tls}SSL_OPTIONS__FAIL_IF_NO_PEER_CERT"] == "true"
    assert emqx[f"{tls}SSL_OPTIONS__ENABLE_CRL_CHECK"] == "true"
    assert (emqx["EMQX_MQTT__PEER_CERT_AS_USERNAME"], emqx["EMQX_MQTT__PEER_CERT_AS_CLIENTID"]) == (
        "cn",
        "cn",
    )
    assert emqx[f"{token}ENABLE_AUTHN"] == "quick_deny_anonymous"
    assert emqx["EMQX_MQTT__USE_USERNAME_AS_CLIENTID"] == "true"
    assert "broker_password($${username})" in emqx["EMQX_AUTHENTICATION"]


def test_production_revokes_over_emqx_and_lets_boxes_enrol() -> None:
    provisioning = load("docker-compose.prod.yml")["services"]["provisioning"]

    assert provisioning["environment"]["BROKER_KIND"] == "emqx"
    assert provisioning["environment"]["CRL_URL"] == "http://provisioning:8081/crl.pem"
    public = [port for port in provisioning["ports"] if not port.startswith("127.0.0.1:")]
    assert public == ["${PUBLIC_ADDRESS:-0.0.0.0}:8443:8443"]


def test_production_takes_samples_by_http_over_tls_alone() -> None:  # U-P06
    door = load("docker-compose.prod.yml")["services"]["ingest-http"]

    assert {"INGEST_HTTP_CERT", "INGEST_HTTP_KEY"} <= set(door["environment"])
    assert door["ports"] == ["${PUBLIC_ADDRESS:-0.0.0.0}:8444:8444"]


def test_the_ingress_is_one_traefik_for_all_stacks_of_a_machine() -> None:  # T-014
    traefik = load("docker-compose.ingress.yml")["services"]["traefik"]
    flags = dict(flag.lstrip("-").partition("=")[::2] for flag in traefik["command"])

    assert flags["providers.docker.exposedByDefault"] == "false"
    assert (flags["entrypoints.web.address"], flags["entrypoints.websecure.address"]) == (":80", ":443")
    assert flags["entrypoints.web.http.redirections.entrypoint.to"] == "websecure"
    assert flags["entrypoints.web.http.redirections.entrypoint.scheme"] == "https"
    assert "certificatesresolvers.le.acme.storage" in flags


def test_production_is_reached_by_the_ingress_on_an_external_network() -> None:  # T-014, T-016
    production = load("docker-compose.prod.yml")
    labels = dict(label.partition("=")[::2] for label in production["services"]["api"]["labels"])

    assert production["networks"]["traefik-public"]["external"] is True
    assert "traefik-public" in production["services"]["api"]["networks"]
    assert labels["traefik.enable"] == "true"
    router = "traefik.http.routers.${COMPOSE_PROJECT_NAME:-overwatt}"
    assert labels[f"{router}.rule"] == "Host(`${CUSTOMER_HOST:?set CUSTOMER_HOST}`)"
    assert (labels[f"{router}.entrypoints"], labels[f"{router}.tls.certresolver"]) == ("websecure", "le")


def test_one_image_serves_all_customers() -> None:  # T-017
    ours = [service for service in SERVICES.values() if service.get("build", {}).get("target") == "cloud"]

    assert len(ours) > 6
    assert {service["image"] for service in ours} == {"${OVERWATT_IMAGE:-overwatt/cloud:dev}"}
