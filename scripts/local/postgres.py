"""PostgreSQL: a cluster of our own, on TCP loopback only. It refuses root, so root runs it as `postgres`."""

import os
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Final

from scripts.local.part import Part, give, made_whole, make_directory, own_user, place, write
from scripts.local.ports import HOST, Ports
from scripts.local.problem import Problem
from scripts.local.process import wait_until, working_in

USER: Final = "iot"
PASSWORD: Final = "iot_dev"
DATABASE: Final = "iotcloud"
ORPHAN_TIMEOUT_S: Final = 10.0
"""Backends notice within a moment that their server was killed."""

SETTINGS: Final = """\
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 256MB
max_wal_size = 2GB
synchronous_commit = on
# Compiling a rollup of a hundred columns takes longer than running it.
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
password_encryption = 'scram-sha-256'
logging_collector = off
log_line_prefix = '%m [%p] '
"""
ACCESS: Final = "host all all 127.0.0.1/32 scram-sha-256\n"


def part(home: Path, ports: Ports) -> Part:
    """The server and its first database."""
    user = own_user("postgres")
    directory = place(home, "postgres", user)
    data = directory / "cluster"
    return Part(
        name="postgres",
        ports={"postgres": ports.postgres},
        command=lambda: [str(binaries() / "postgres"), "-D", str(data)],
        is_ready=partial(is_ready, ports.postgres),
        directory=Path("/"),
        environment={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
        user=user,
        # SIGTERM would wait for every client to leave; SIGINT is a fast shutdown.
        stop_signal=signal.SIGINT,
        prepare=partial(prepare, data, ports.postgres, user),
        after_ready=partial(create_database, ports.postgres),
    )


def binaries() -> Path:
    """PG_BIN, or the newest of the system's versions."""
    if chosen := os.environ.get("PG_BIN"):
        if not (Path(chosen) / "postgres").exists():
            raise Problem(f"PG_BIN={chosen} holds no postgres: unset it, or name the directory with initdb")
        return Path(chosen)
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if not found:
        raise Problem("PostgreSQL is not installed: run `make setup`, or set PG_BIN to its bin directory")
    return max(found, key=lambda path: int(path.parent.name))


def prepare(data: Path, port: int, user: str | None) -> None:
    """Make the cluster if there is none, and write its settings."""
    make_directory(data.parent, user)
    if not data.exists():
        with made_whole(data) as building:
            initialise(building, user)
    if not (data / "PG_VERSION").exists():
        raise Problem(f"{data} is no PostgreSQL cluster (PG_VERSION is missing): `make reset` removes it")
    _forget_killed_server(data)
    write(data / "postgresql.conf", SETTINGS.format(host=HOST, port=port), user)
    write(data / "pg_hba.conf", ACCESS, user)


def initialise(data: Path, user: str | None) -> None:
    """initdb, with the superuser and password that the examples name (P-012, P-038)."""
    password = data.with_name("password")
    write(password, PASSWORD, user)
    made = subprocess.run(
        [
            *(str(binaries() / "initdb"), "-D", str(data), "-U", USER, "-E", "UTF8", "--locale", "C.UTF-8"),
            *("-A", "scram-sha-256", "--pwfile", str(password), "--no-sync"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd="/",
        user=user,
        group=user,
        extra_groups=[] if user else None,
    )
    password.unlink()
    if made.returncode:
        raise Problem(f"initdb in {data.parent} failed: {made.stderr.strip().splitlines()[-1]}")
    give(data, user)


def _forget_killed_server(data: Path) -> None:
    """Remove the lock of a server that was killed: its pid may be a zombie's, or somebody else's by now.

    Every backend works in the data directory, so where nobody does, nobody uses the data.
    """
    if not wait_until(lambda: not working_in(data), ORPHAN_TIMEOUT_S):
        raise Problem(f"PostgreSQL still runs in {data} (pid {working_in(data)[0]}): stop it first")
    (data / "postmaster.pid").unlink(missing_ok=True)


def is_ready(port: int) -> bool:
    """Whether it takes connections."""
    asked = subprocess.run([binaries() / "pg_isready", "-q", "-h", HOST, "-p", str(port), "-t", "3"])
    return asked.returncode == 0


def create_database(port: int) -> None:
    """The platform's database, if it is not there."""
    if not sql(port, f"select 1 from pg_database where datname = '{DATABASE}'"):
        sql(port, f"create database {DATABASE}")


def url(port: int, *, user: str = USER, password: str = PASSWORD, database: str = DATABASE) -> str:
    """What our services call DATABASE_URL."""
    return f"postgresql://{user}:{password}@{HOST}:{port}/{database}"


def sql(port: int, statement: str, database: str = "postgres") -> str:
    """Run one statement as the owner and return what psql prints."""
    done = subprocess.run(
        [
            *(str(binaries() / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1"),
            *("-d", url(port, database=database), "-c", statement),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Problem(f"{statement}: {done.stderr.strip()}")
    return done.stdout.strip()
