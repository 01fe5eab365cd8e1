"""The platform's real servers on one machine: start, kill, stop, and each way a start can go wrong."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from scripts.local import certificates
from scripts.local.part import elsewhere
from scripts.local.ports import HOST, VARIABLES, Ports, is_free
from scripts.local.process import spawn, wait_until, write_pid
from scripts.local.stack import COMPONENTS, Stack
from tests.terminal import as_from_a_terminal

ROOT = Path(__file__).parents[2]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def ports() -> Ports:
    return Ports.free()


@pytest.fixture
def local(home: Path, ports: Ports) -> Command:
    """`local("start", MQTT_PORT=...)`: the command line, in a home and on ports of this test's own."""
    settings = {variable: str(getattr(ports, name)) for name, variable in VARIABLES.items()}

    def run(
        *arguments: str, python: str = sys.executable, **extra: str
    ) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, **settings, "OVERWATT_HOME": str(home), **extra}
        return subprocess.run(
            [python, "-m", "scripts.local", *arguments],
            cwd=ROOT,
            env={name: value for name, value in environment.items() if value},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
        )

    return run


def only_line(done: "subprocess.CompletedProcess[str]") -> str:
    """What a failed command has to say: one line."""
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.splitlines()
    return line


def processes_of(home: Path) -> list[str]:
    """Command lines that mention the home. Not from `ps`: a small Debian has none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text(errors="replace").replace("\0", " "))
    return [line for line in found if str(home) in line]


def test_it_starts_says_what_runs_refuses_a_second_start_and_stops_without_a_trace(
    local: Command, home: Path
) -> None:
    started = local("start")
    second = local("start")
    status = local("status").stdout.splitlines()
    stopped = local("stop")

    assert started.returncode == 0, started.stderr
    assert only_line(second).startswith(
        f"Error: Overwatt runs already in {home} (kafka, postgres, redis, mosquitto)"
    )
    assert f"OVERWATT_HOME={home}2 PORT_OFFSET=1000 make start" in second.stderr
    assert {line.split()[0] for line in status if " running " in line} == set(COMPONENTS)
    assert stopped.returncode == 0
    assert processes_of(home) == []
    assert " running " not in local("status").stdout


def test_a_killed_part_is_seen_and_comes_back_with_its_data(home: Path, ports: Ports) -> None:
    with Stack(home, ports) as stack:
        stack.start()
        stack.sql("create table kept as select 1 as a")
        for name in COMPONENTS:
            pid = stack.pid(name)
            assert pid
            os.kill(pid, signal.SIGKILL)
            assert wait_until(lambda name=name: stack.pid(name) is None, 10)  # type: ignore[misc]
        died = {status.part for status in stack.status() if status.state == "died"}

        stack.start()

        assert died == set(COMPONENTS)
        assert stack.sql("select a from kept") == "1"
        assert len(list(home.rglob("meta.properties"))) == 1

    assert processes_of(home) == []


def test_a_message_that_mosquitto_acknowledged_waits_for_its_subscriber_through_a_kill(
    home: Path, ports: Ports
) -> None:
    gateway = [
        "-V",
        "5",
        "-p",
        str(ports.mosquitto),
        "-u",
        "svc-ingest-0",
        "-i",
        "svc-ingest-0",
        "-c",
        "-q",
        "1",
    ]
    subscribe = ["mosquitto_sub", *gateway, "-x", "3600", "-t", "devices/+/+/telemetry"]
    publish = [
        "mosquitto_pub",
        "-p",
        str(ports.mosquitto),
        "-q",
        "1",
        "-t",
        "devices/t/d/telemetry",
        "-m",
        "kept",
    ]
    with Stack(home, ports) as stack:
        stack.start("mosquitto")
        subprocess.run([*subscribe, "-E"], check=True)
        subprocess.run(publish, check=True)
        saved = home / "data" / "mosquitto" / "mosquitto.db"
        assert wait_until(lambda: saved.exists() and b"kept" in saved.read_bytes(), 10)

        stack.kill_part("mosquitto")
        stack.start_part("mosquitto")
        got = subprocess.run([*subscribe, "-C", "1", "-W", "10"], capture_output=True, text=True)

    assert got.stdout == "kept\n"


def test_in_production_the_broker_has_no_port_for_a_name_alone(home: Path, ports: Ports) -> None:
    with Stack(home, ports, service_environment={"ENVIRONMENT": "production"}) as stack:
        stack.start("mosquitto")

        assert is_free(ports.mosquitto)
        assert not is_free(ports.mqtt_tls)
        assert not is_free(ports.mqtt_token)


def test_a_taken_port_is_told_before_anything_starts(local: Command, home: Path, ports: Ports) -> None:
    with socket.create_server((HOST, ports.mosquitto)):
        told = only_line(local("start"))

    assert f"port {ports.mosquitto} (MQTT_PORT) is taken by" in told
    assert f"(pid {os.getpid()}): stop it, or choose another port, e.g. MQTT_PORT=" in told
    assert told.endswith(" make start")
    assert not (home / "data").exists()


def test_a_home_that_the_demo_uses_is_refused_by_name(local: Command, home: Path, ports: Ports) -> None:
    with Stack(home, ports, command="make demo"):
        told = {command: only_line(local(command)) for command in ("start", "stop", "up", "reset")}

    assert all(f"is in use by `make demo` (pid {os.getpid()})" in line for line in told.values())
    assert {command for command, line in told.items() if "beside" in line} == {"start", "up"}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("cluster/PG_VERSION", "is no PostgreSQL cluster (PG_VERSION is missing): `make reset` removes it"),
        ("cluster/global/pg_control", "could not open file"),
    ],
)
def test_damaged_data_is_told_with_its_directory_and_reset_removes_it(
    local: Command, home: Path, damage: str, reason: str
) -> None:
    assert local("start", "postgres").returncode == 0
    assert local("stop").returncode == 0
    (home / "data" / "postgres" / damage).unlink()

    told = only_line(local("start", "postgres"))

    assert reason in told
    assert str(home) in told
    assert "`make reset` removes" in told
    assert only_line(local("reset")) == "Error: nobody is there to ask: YES=1 make reset"
    assert local("reset", "--yes").returncode == 0
    assert local("start", "postgres").returncode == 0
    assert local("stop").returncode == 0
    assert processes_of(home) == []


def test_a_kafka_that_cannot_read_its_log_is_told_with_its_own_reason(local: Command, home: Path) -> None:
    assert local("start", "kafka").returncode == 0
    assert local("stop").returncode == 0
    log = home / "data" / "kafka" / "log"
    (log / "meta.properties").write_text("nonsense")

    told = only_line(local("start", "kafka"))

    assert told.startswith("Error: kafka ended instead of starting: ")
    assert f"not found in {log} " in told

    (log / "meta.properties").unlink()
    told = only_line(local("start", "kafka"))
    assert told == f"Error: {log} is no Kafka log (meta.properties is missing): `make reset` removes it"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has servers that run as other users")
def test_from_a_home_that_only_root_may_enter_data_moves_to_where_the_servers_can_reach_it(
    local: Command, home: Path
) -> None:
    home.chmod(0o700)

    assert local("start", "postgres", "redis", "mosquitto").returncode == 0
    moved = sorted(path.name for path in elsewhere(home).iterdir())
    owner = (elsewhere(home) / "postgres" / "cluster").owner()
    assert local("stop").returncode == 0
    assert local("reset", "--yes").returncode == 0

    assert moved == ["mosquitto", "postgres", "redis"]
    assert owner == "postgres"
    assert not elsewhere(home).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_root_it_starts_as_well(home: Path, ports: Ports) -> None:
    home.chmod(0o777)
    settings = {variable: str(getattr(ports, name)) for name, variable in VARIABLES.items()}

    def as_nobody(*arguments: str) -> "subprocess.CompletedProcess[str]":
        # The system's Python: the environment's own may stand in root's home. The stack needs no package.
        return subprocess.run(
            ["/usr/bin/python3", "-m", "scripts.local", *arguments],
            cwd=ROOT,
            env={
                **settings,
                "PATH": "/usr/bin:/bin",
                "OVERWATT_HOME": str(home),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            user="nobody",
            group="nogroup",
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    if "No module named" in as_nobody("--help").stderr:
        pytest.skip(f"another user cannot enter {ROOT}")
    # Made here, since the authority does need packages.
    certificates.prepare(home)
    crl = home / "data" / "mosquitto" / "crl.pem"
    crl.parent.mkdir(parents=True)
    certificates.sign_crl(home, crl)
    for path in home.rglob("*"):
        shutil.chown(path, "nobody", "nogroup")

    started = as_nobody("start", "postgres", "redis", "mosquitto")
    owner = (home / "data" / "postgres" / "cluster").owner()
    stopped = as_nobody("stop")

    assert started.returncode == 0, started.stderr
    assert owner == "nobody"
    assert stopped.returncode == 0
    assert processes_of(home) == []


@pytest.mark.parametrize(
    ("settings", "part", "reason"),
    [
        (
            {"PATH": "/nowhere", "JAVA_HOME": ""},
            "kafka",
            "Java is not installed: run `make setup`, or install Java 17",
        ),
        ({"KAFKA_HOME": "/nowhere"}, "kafka", "KAFKA_HOME=/nowhere has no libs/kafka_*.jar: unset it"),
        ({"PG_BIN": "/nowhere"}, "postgres", "PG_BIN=/nowhere holds no postgres: unset it"),
    ],
)
def test_what_is_not_installed_is_told_with_what_to_do(
    local: Command, settings: dict[str, str], part: str, reason: str
) -> None:
    assert reason in only_line(local("start", part, **settings))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_start_leaves_no_process_though_nobody_reads_what_it_says(
    local: Command, home: Path, ports: Ports, signum: signal.Signals
) -> None:
    settings = {variable: str(getattr(ports, name)) for name, variable in VARIABLES.items()}
    starting = subprocess.Popen(
        [sys.executable, "-m", "scripts.local", "start"],
        cwd=ROOT,
        env={**os.environ, **settings, "OVERWATT_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=as_from_a_terminal,
    )
    assert wait_until(lambda: (home / "run" / "kafka.pid").exists(), 30)
    assert starting.stdout
    starting.stdout.close()

    starting.send_signal(signum)
    starting.send_signal(signum)
    starting.wait(timeout=60)

    assert starting.returncode == 130
    assert processes_of(home) == []
    assert local("start", "postgres").returncode == 0
    assert local("stop").returncode == 0


def test_stop_ends_also_what_a_killed_demo_left_behind(local: Command, home: Path) -> None:
    agent = spawn(
        [sys.executable, "-c", "import time; time.sleep(60)", str(home)],
        environment=os.environ,
        directory=ROOT,
        log_file=home / "log" / "agent-park.log",
    )
    write_pid(home / "run" / "agent-park.pid", agent)

    second = only_line(local("start"))
    stopped = local("stop")

    assert f"Overwatt runs already in {home} (agent-park): `make stop` ends it" in second
    assert stopped.returncode == 0, stopped.stderr
    assert not agent.is_alive
    assert processes_of(home) == []


def test_what_ended_by_itself_is_told_with_its_last_words(home: Path, ports: Ports) -> None:
    with Stack(home, ports) as stack:
        stack.start("redis")
        dying = spawn(
            [sys.executable, "-c", "print('Error: SPOOL_PATH is not a spool'); print('bye')"],
            environment=os.environ,
            directory=ROOT,
            log_file=stack.log_file("agent-park"),
        )
        write_pid(home / "run" / "agent-park.pid", dying)
        assert wait_until(lambda: not dying.is_alive, 10)

        assert stack.deaths() == [
            f"agent-park ended: Error: SPOOL_PATH is not a spool (log: {home}/log/agent-park.log)"
        ]


def test_each_database_of_a_test_is_its_own_and_migrated(
    database_url: str, stack: Stack, role_url: Callable[[str], str]
) -> None:
    name = database_url.rpartition("/")[2]

    assert stack.sql("select count(*) > 5 from schema_migrations", name) == "t"
    assert role_url("ingest").startswith("postgresql://ingest:")
    assert role_url("ingest").endswith(f"/{name}")
