"""Our own processes: commands, database roles, ports, and what has to run before them."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from scripts.local import certificates, mosquitto, postgres
from scripts.local.part import ROOT, Part
from scripts.local.ports import HOST, VARIABLES, Ports
from scripts.local.problem import Problem
from scripts.local.program import PYTHONPATH, run_module

GATEWAYS: Final = "GATEWAYS"
WRITERS: Final = "WRITERS"


@dataclass(frozen=True, slots=True)
class Service:
    """How one process is started."""

    name: str
    arguments: tuple[str, ...]
    role: str
    """The database role it logs in with."""
    health: str
    """Name in `Ports` of its health and metrics endpoint."""
    doors: tuple[str, ...] = ()
    """Names in `Ports` of what else it listens on."""
    settings: Callable[[Path, Ports], Mapping[str, str]] = lambda home, ports: {}
    """Variables that only it is given."""
    prepare: Callable[[Path], None] = lambda home: None
    replicas: str = ""
    """Set: a second one of its kind, wanted when this variable is 2."""


def gateway_settings(home: Path, ports: Ports, index: int = 0) -> dict[str, str]:
    """It speaks mutual TLS here as it does in production."""
    own = certificates.directory(home)
    return {
        "GATEWAY_INDEX": str(index),
        "GATEWAY_COUNT": os.environ.get(GATEWAYS, "1"),
        "MQTT_PORT": str(ports.mqtt_tls),
        "MQTT_CA": str(own / "root.pem"),
        "MQTT_CERT": str(own / f"{certificates.GATEWAYS[index]}.pem"),
        "MQTT_KEY": str(own / f"{certificates.GATEWAYS[index]}.key"),
    }


def http_settings(home: Path, ports: Ports) -> dict[str, str]:
    """TLS here as in production."""
    own = certificates.directory(home) / certificates.HTTP
    return {"INGEST_HTTP_CERT": f"{own}.pem", "INGEST_HTTP_KEY": f"{own}.key"}


def provisioning_settings(home: Path, ports: Ports) -> dict[str, str]:
    """The authority, and the broker that it keeps."""
    return {
        "AUTHORITY_DIR": str(certificates.authority(home)),
        "BROKER_KIND": "mosquitto",
        "MOSQUITTO_DIR": str(mosquitto.directory(home)),
        "MQTT_ADMIN_HOST": HOST,
        "MQTT_ADMIN_PORT": str(ports.mqtt_tls),
    }


SERVICES: Final = (
    Service(
        "provisioning",
        ("services.provisioning",),
        "provisioning",
        "provisioning_health",
        ("provisioning", "enrol"),
        provisioning_settings,
        certificates.prepare,
    ),
    Service("ingest-writer", ("services.ingest", "writer"), "ingest", "writer_health"),
    Service(
        "ingest-gateway",
        ("services.ingest", "gateway"),
        "ingest",
        "gateway_health",
        settings=gateway_settings,
        prepare=certificates.prepare,
    ),
    Service(
        "ingest-http",
        ("services.ingest", "http"),
        "ingest",
        "ingest_http_health",
        ("ingest_http",),
        http_settings,
        certificates.prepare,
    ),
    Service("controller", ("services.controller",), "controller", "controller_health", ("controller",)),
    Service("escalation", ("services.escalation",), "escalation", "escalation_health"),
    Service("api", ("services.api",), "api", "api_health", ("api",)),
    Service("ingest-writer-1", ("services.ingest", "writer"), "ingest", "writer_1_health", replicas=WRITERS),
    Service(
        "ingest-gateway-1",
        ("services.ingest", "gateway"),
        "ingest",
        "gateway_1_health",
        settings=partial(gateway_settings, index=1),
        prepare=certificates.prepare,
        replicas=GATEWAYS,
    ),
)

ASSETS: Final = "assets.yaml"


def wanted(environment: Mapping[str, str]) -> list[str]:
    """The services that a start begins: second ones where GATEWAYS or WRITERS is 2."""
    for variable in (GATEWAYS, WRITERS):
        if environment.get(variable, "1") not in ("1", "2"):
            raise Problem(f"{variable}={environment[variable]} cannot be started here: give 1 or 2")
    return [each.name for each in SERVICES if not each.replicas or environment.get(each.replicas) == "2"]


def parts(home: Path, ports: Ports, extra: Mapping[str, str]) -> list[Part]:
    """Every service, with `extra` over the environment that we give it."""
    return [
        Part(
            name=service.name,
            ports={name: getattr(ports, name) for name in (*service.doors, service.health)},
            command=partial(list, (sys.executable, "-m", *service.arguments)),
            is_ready=partial(is_ready, getattr(ports, service.health)),
            prepare=partial(service.prepare, home),
            environment={
                **environment(home, ports),
                "DATABASE_URL": postgres.url(ports.postgres, user=service.role),
                "HEALTH_PORT": str(getattr(ports, service.health)),
                **service.settings(home, ports),
                **extra,
            },
        )
        for service in SERVICES
    ]


def environment(home: Path, ports: Ports) -> dict[str, str]:
    """The variables that our processes and people's shells read; the database as its owner."""
    settings = {variable: str(getattr(ports, name)) for name, variable in VARIABLES.items()}
    settings |= {
        "DATABASE_URL": postgres.url(ports.postgres),
        "KAFKA_BOOTSTRAP": f"{HOST}:{ports.kafka}",
        "MQTT_HOST": HOST,
        "REDIS_URL": f"redis://{HOST}:{ports.redis}/0",
        "CONTROLLER_URL": f"http://{HOST}:{ports.controller}",
        "PROVISIONING_URL": f"http://{HOST}:{ports.provisioning}",
        "API_URL": f"http://{HOST}:{ports.api}",
        "APP_URL": f"http://{HOST}:{ports.api}",
        "ENVIRONMENT": os.environ.get("ENVIRONMENT", "development"),
        "OVERWATT_HOME": str(home),
        "PYTHONPATH": PYTHONPATH,
    }
    # Without a list of assets only enrolled devices exist; a person who has one finds it used.
    if "ASSETS_PATH" not in os.environ and not (ROOT / ASSETS).exists():
        settings["ASSETS_PATH"] = ""
    return settings


def is_ready(port: int) -> bool:
    """Whether its dependencies are there too."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health/ready", timeout=4) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def migrate(database_url: str) -> list[str]:
    """`python -m db.migrate`; what it printed."""
    settings = {"DATABASE_URL": database_url, "SERVICE_PASSWORD": postgres.PASSWORD}
    return run_module("db.migrate", settings=settings)


def create_topics(kafka_bootstrap: str) -> list[str]:
    """`python -m services.runtime.topics`; what it printed."""
    return run_module("services.runtime.topics", settings={"KAFKA_BOOTSTRAP": kafka_bootstrap})
