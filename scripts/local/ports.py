"""Which part listens where, how to change it, and who sits on a port that should be free."""

import os
import random
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Final

from scripts.local.problem import Problem

HOST: Final = "127.0.0.1"

VARIABLES: Final = {
    "postgres": "PG_PORT",
    "redis": "REDIS_PORT",
    "mosquitto": "MQTT_PORT",
    "mqtt_tls": "MQTT_TLS_PORT",
    "mqtt_token": "MQTT_TOKEN_PORT",
    "kafka": "KAFKA_PORT",
    "kafka_controller": "KAFKA_CONTROLLER_PORT",
    "api": "API_PORT",
    "provisioning": "PROVISIONING_PORT",
    "enrol": "ENROL_PORT",
    "controller": "CONTROLLER_PORT",
    "gateway_health": "GATEWAY_HEALTH_PORT",
    "writer_health": "WRITER_HEALTH_PORT",
    "controller_health": "CONTROLLER_HEALTH_PORT",
    "escalation_health": "ESCALATION_HEALTH_PORT",
    "provisioning_health": "PROVISIONING_HEALTH_PORT",
    "api_health": "API_HEALTH_PORT",
    "ingest_http": "INGEST_HTTP_PORT",
    "ingest_http_health": "INGEST_HTTP_HEALTH_PORT",
    "gateway_1_health": "GATEWAY_1_HEALTH_PORT",
    "writer_1_health": "WRITER_1_HEALTH_PORT",
}

# Below the range that the kernel gives to clients: one that retries a dead server's port could otherwise
# be given that very port as its own and connect to itself.
FREE_FROM: Final = 20_000
FREE_TO: Final = 32_000
BLOCK: Final = 200
LISTENING: Final = "0A"
MAX_OFFSET: Final = 40_000


@dataclass(frozen=True, slots=True)
class Ports:
    """A port for everything that listens."""

    postgres: int = 15432
    redis: int = 16379
    mosquitto: int = 1883
    mqtt_tls: int = 8883
    mqtt_token: int = 8884
    kafka: int = 19092
    kafka_controller: int = 19093
    api: int = 3001
    provisioning: int = 8081
    enrol: int = 8443
    controller: int = 3002
    gateway_health: int = 8101
    writer_health: int = 8102
    controller_health: int = 8103
    escalation_health: int = 8104
    provisioning_health: int = 8105
    api_health: int = 8106
    ingest_http: int = 8444
    ingest_http_health: int = 8107
    gateway_1_health: int = 8111
    writer_1_health: int = 8112

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Ports":
        """The defaults, moved up by PORT_OFFSET and then changed by the variables that are set."""
        offset = port_offset(environment)
        names = [each.name for each in fields(cls)]
        chosen = {name: port + offset for name, port in zip(names, astuple(cls()), strict=True)}
        chosen |= {
            name: _port(variable, environment[variable])
            for name, variable in VARIABLES.items()
            if environment.get(variable)
        }
        ports = cls(**chosen)
        first: dict[int, str] = {}
        for name, variable in VARIABLES.items():
            other = first.setdefault(getattr(ports, name), variable)
            if other != variable:
                raise Problem(f"{other} and {variable} are both {getattr(ports, name)}: change one of them")
        return ports

    @classmethod
    def free(cls) -> "Ports":
        """Ports on which nobody listens now, for tests and a second platform beside the first."""
        names = [field.name for field in fields(cls)]
        return cls(**dict(zip(names, free_ports(len(names)), strict=True)))


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now, and which no client is given as its own; none is given twice,
    neither by this process nor by another one that lives."""
    return list(islice((port for port in _candidates if is_free(port)), count))


def _walk() -> Iterator[int]:
    blocks = [*range(FREE_FROM, FREE_TO, BLOCK)]
    random.shuffle(blocks)
    for block in blocks:
        if _claim(block):
            yield from range(block, block + BLOCK)
    raise Problem(f"every port from {FREE_FROM} to {FREE_TO - 1} was given away: end what holds them")


def _claim(block: int) -> bool:
    # A free port may be a neighbour's too until its server has started, so whole blocks are a process's
    # own; the kernel lets go of the name when the process ends.
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0overwatt-ports-{block}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True


_claims: Final[list[socket.socket]] = []
_candidates = _walk()


def port_offset(environment: Mapping[str, str]) -> int:
    """What is added to every default port, so that a second platform fits beside the first."""
    offset = environment.get("PORT_OFFSET") or "0"
    if offset.isascii() and offset.isdigit() and int(offset) <= MAX_OFFSET:
        return int(offset)
    raise Problem(f"PORT_OFFSET={offset} cannot be added to a port: give a number from 0 to {MAX_OFFSET}")


def _port(variable: str, value: str) -> int:
    if value.isascii() and value.isdigit() and 1 <= int(value) <= 65535:
        return int(value)
    raise Problem(f"{variable}={value} is not a port: give a number from 1 to 65535")


def is_free(port: int) -> bool:
    """Whether a server could listen on it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def require_free(name: str, port: int, command: str) -> None:
    """Raise with who has the port and what to type instead; `command` is what the person ran."""
    if is_free(port):
        return
    variable = VARIABLES[name]
    other = next((each for each in range(port + 1, 65536) if is_free(each)), port + 1)
    raise Problem(
        f"port {port} ({variable}) is taken by {holder(port) or 'another program'}: stop it, or choose "
        f"another port, e.g. {variable}={other} {command}"
    )


def holder(port: int) -> str | None:
    """`name (pid N)` of the listener, where this user may see it."""
    inodes = set(_listening_inodes(port))
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    if os.readlink(descriptor) in inodes:
                        return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == LISTENING and int(local.rpartition(":")[2], 16) == port:
                    yield f"socket:[{rest[5]}]"
