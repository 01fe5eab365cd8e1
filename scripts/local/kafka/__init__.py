"""Apache Kafka in KRaft mode: one process that is broker and controller, from the jars that pom.xml names."""

import base64
import os
import shutil
import socket
import struct
import subprocess
import uuid
from functools import partial
from pathlib import Path
from typing import Final

from scripts.local.part import ROOT, Part, made_whole, make_directory, place, write
from scripts.local.ports import HOST, Ports
from scripts.local.problem import Problem

JARS: Final = ROOT / ".local" / "kafka" / "libs"
ARCHIVE: Final = JARS.parent / "classes.jsa"
"""Kafka's classes as the JVM wants them in memory, made by archive.py: it halves the time of a start."""
HEAP: Final = "512m"
JVM_OPTIONS: Final = "-XX:TieredStopAtLevel=1"
"""KAFKA_JVM_OPTS replaces it for the broker. Optimising less takes half the processor time at a start and is
enough for a demo; a benchmark wants it empty."""

SETTINGS: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{reached_at}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log}
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# One machine: a broker that was killed is back as soon as it runs, not after the default 9 s.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.segment.bytes=67108864
"""

LOGGING: Final = """\
status = warn
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""

# Metadata of no topic, version 0: size, api key 3, version 0, correlation 1, no client id, 0 topics. A broker
# that answers it with itself can be produced to; one that is still fenced leaves itself out.
METADATA: Final = struct.pack(">ihhihi", 14, 3, 1, 1, -1, 0)


def part(home: Path, ports: Ports, *, reached_at: int) -> Part:
    """Broker and controller in one process; clients are told to come to the port `reached_at`."""
    directory = place(home, "kafka", None)
    return Part(
        name="kafka",
        ports={"kafka": ports.kafka, "kafka_controller": ports.kafka_controller},
        command=lambda: java(
            directory,
            "kafka.Kafka",
            str(directory / "server.properties"),
            options=os.environ.get("KAFKA_JVM_OPTS", JVM_OPTIONS),
        ),
        is_ready=partial(is_ready, ports.kafka),
        directory=Path("/"),
        prepare=partial(prepare, directory, ports, reached_at),
    )


def java(directory: Path, main: str, *arguments: str, options: str = JVM_OPTIONS) -> list[str]:
    """A command of the Kafka distribution."""
    libraries = jars()
    archive = [f"-XX:SharedArchiveFile={ARCHIVE}"] if libraries == JARS and ARCHIVE.exists() else []
    return [
        java_binary(),
        f"-Xms{HEAP}",
        f"-Xmx{HEAP}",
        "-XX:+UseG1GC",
        *archive,
        *options.split(),
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={directory / 'log4j2.properties'}",
        "-cp",
        f"{libraries}/*",
        main,
        *arguments,
    ]


def java_binary() -> str:
    """JAVA_HOME's, or the system's."""
    home = os.environ.get("JAVA_HOME")
    if found := shutil.which("java", path=f"{home}/bin" if home else None):
        return found
    raise Problem("Java is not installed: run `make setup`, or install Java 17 and set JAVA_HOME")


def jars() -> Path:
    """KAFKA_HOME's, or those that `make setup` fetched."""
    home = os.environ.get("KAFKA_HOME")
    directory = Path(home) / "libs" if home else JARS
    if any(directory.glob("kafka_*.jar")):
        return directory
    if home:
        raise Problem(f"KAFKA_HOME={home} has no libs/kafka_*.jar: unset it, or name a Kafka 4 distribution")
    raise Problem("Kafka's jars are not there: run `make setup`, or set KAFKA_HOME")


def prepare(directory: Path, ports: Ports, reached_at: int) -> None:
    """Write its settings and format its storage if there is none."""
    make_directory(directory, None)
    write(directory / "log4j2.properties", LOGGING, None)
    log = directory / "log"
    if not log.exists():
        with made_whole(log) as building:
            initialise(directory, building, ports, reached_at)
    if not (log / "meta.properties").exists():
        raise Problem(f"{log} is no Kafka log (meta.properties is missing): `make reset` removes it")
    write(directory / "server.properties", settings(log, ports, reached_at), None)


def settings(log: Path, ports: Ports, reached_at: int) -> str:
    """server.properties."""
    return SETTINGS.format(
        host=HOST,
        port=ports.kafka,
        reached_at=reached_at,
        controller_port=ports.kafka_controller,
        log=log,
    )


def initialise(directory: Path, log: Path, ports: Ports, reached_at: int) -> None:
    """Format the storage under a new cluster id."""
    properties = directory / "format.properties"
    write(properties, settings(log, ports, reached_at), None)
    # A leading `-` would read as an option.
    cluster_id = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
    command = java(directory, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    properties.unlink()
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise Problem(f"Kafka cannot format {log}: {said[-1]}")


def is_ready(port: int) -> bool:
    """Whether the broker names itself in its metadata, so that it can be produced to."""
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(METADATA)
            answer = _read(connection, *struct.unpack(">i", _read(connection, 4)))
    except (OSError, struct.error):
        return False
    # Correlation id, then the number of brokers.
    return len(answer) >= 8 and struct.unpack_from(">i", answer, 4)[0] > 0


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data
