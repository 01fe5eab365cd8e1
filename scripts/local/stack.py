"""The whole platform, or the parts of it that somebody needs: start, wait, kill, stop, say what runs."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final

from scripts.local import kafka, mosquitto, postgres, process, redis, services
from scripts.local.lock import HomeLock, beside
from scripts.local.part import Part, elsewhere
from scripts.local.ports import Ports, require_free
from scripts.local.problem import Problem

COMPONENTS: Final = ("kafka", "postgres", "redis", "mosquitto")
"""In the order of starting: the slowest first, all run up at the same time."""
READY_TIMEOUT_S: Final = 90.0
LOG_LIMIT_BYTES: Final = 20_000_000
TELLING: Final = ("FATAL", "PANIC", "ERROR", "Error:", "Exception", '"level": "error"', "Error")


@dataclass(frozen=True, slots=True)
class Status:
    """One line of `make status`."""

    part: str
    state: str
    """running | stopped | died"""
    pid: int | None
    port: int
    since: datetime | None
    log_file: Path


class Stack:
    """The platform in one home directory, which it locks while it is entered.

    `with Stack(home, ports) as stack:` stops on leaving whatever was started in it. All calls block; from
    an async test use `asyncio.to_thread`.
    """

    def __init__(
        self,
        home: Path,
        ports: Ports,
        *,
        service_environment: Mapping[str, str] | None = None,
        command: str = "make start",
        say: Callable[[str], None] = lambda line: None,
        reached: Ports | None = None,
    ) -> None:
        """`service_environment` goes to every service; `command` is what a hint tells a person to type.

        `reached`: where services find PostgreSQL, Kafka and the broker, if something stands in between.
        """
        self.home = home.absolute()
        self.ports = ports
        self._reached = reached or ports
        self._service_environment = dict(service_environment or {})
        self._command = command
        self._say = say
        self._lock = HomeLock(self.home, command)
        self._log_starts: dict[str, int] = {}

    def __enter__(self) -> "Stack":
        self.acquire()
        try:
            self.refuse_second_start()
        except Problem:
            self.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.release()

    def acquire(self) -> None:
        """Take the home; raises when another start, stop or demo has it."""
        self._lock.acquire()

    def release(self) -> None:
        """Let others have the home; what runs goes on."""
        self._lock.release()

    def refuse_second_start(self) -> None:
        """Raise when parts of an earlier start still run here."""
        running = [name for name in (*self._names(), *self._guests()) if self._is_running(name)]
        if running:
            raise Problem(
                f"Overwatt runs already in {self.home} ({', '.join(running)}): `make stop` ends it, or run a "
                f"second one beside it: {beside(self.home, self._command)}"
            )

    def up(self) -> None:
        """Components, migrations, topics, services; returns when all are ready."""
        names = services.wanted(os.environ)
        self.require_free_ports((*COMPONENTS, *names))
        self.start(*COMPONENTS)
        self.migrate()
        self.start(*names)

    def migrate(self) -> None:
        """What the services expect to find: tables and topics."""
        for line in services.migrate(self.env()["DATABASE_URL"]):
            self._say(f"  {line}")
        for line in services.create_topics(self.env()["KAFKA_BOOTSTRAP"]):
            self._say(f"  {line}")

    def start(self, *names: str) -> None:
        """Start these parts (all components if none is named) and wait until each is ready."""
        parts = [self._part(name) for name in names or COMPONENTS]
        missing = [part for part in parts if not self._is_running(part.name)]
        self.require_free_ports(part.name for part in missing)
        begun = time.monotonic()
        for part in missing:
            self._say(f"  {part.name}: starting on port {_port(part)}")
            try:
                self._launch(part)
            except OSError as error:
                raise Problem(
                    f"{part.name} cannot start: {error.strerror}: {error.filename} (made by another user? "
                    "use that user, or set OVERWATT_HOME to a directory of your own)"
                ) from error
        for part in missing:
            self._wait(part)
            self._say(f"  {part.name}: ready after {time.monotonic() - begun:.1f} s")

    def start_part(self, name: str) -> None:
        """One part."""
        self.start(name)

    def launch(self, name: str) -> None:
        """One part, if it does not run, without waiting until it is ready."""
        if not self._is_running(name):
            self._launch(self._part(name))

    def kill_part(self, name: str, signum: signal.Signals = signal.SIGKILL) -> None:
        """End it the hard way; returns when it and its children are gone."""
        self._end(name, signum)

    def stop_part(self, name: str) -> None:
        """End it as it likes to be ended."""
        self._end(name, self._part(name).stop_signal)

    def restart(self, name: str) -> None:
        """Stop it if it runs, and start it again with the same data."""
        self.stop_part(name)
        self.start_part(name)

    def stop(self) -> None:
        """End all that runs, services first; no process stays."""
        guests = self._guests()
        for name in (*guests, *reversed(self._names())):
            if self._is_running(name):
                # Whoever would read it may have closed the terminal.
                with suppress(OSError):
                    self._say(f"  {name}: stopping")
                self._end(name, signal.SIGTERM if name in guests else self._part(name).stop_signal)
            self._pid_file(name).unlink(missing_ok=True)

    def remove_data(self) -> None:
        """Delete what the parts have stored and logged; they must not run."""
        for directory in self.data_directories():
            shutil.rmtree(directory, ignore_errors=True)

    def data_directories(self) -> list[Path]:
        """Everything that parts write; the home holds more than that, such as Kafka's jars."""
        own = ("data", "log", "run", "authority", "mosquitto")
        return [*(self.home / name for name in own), elsewhere(self.home)]

    def env(self) -> dict[str, str]:
        """Variables for a shell, a service or a test; the database as its owner."""
        return services.environment(self.home, self.ports)

    def service_env(self, name: str) -> dict[str, str]:
        """The variables that one of our services is started with."""
        return dict(self._part(name).environment)

    def sql(self, statement: str, database: str = postgres.DATABASE) -> str:
        """Run a statement as the owner of the database; what psql prints, unaligned."""
        return postgres.sql(self.ports.postgres, statement, database)

    def log_file(self, name: str) -> Path:
        """Where a part's output goes."""
        return self.home / "log" / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """Of a part that runs."""
        found = process.read_pid(self._pid_file(name))
        return found.pid if found and found.is_alive else None

    def status(self) -> list[Status]:
        """Every part, running or not; a second one of its kind where it was started."""
        spare = {each.name for each in services.SERVICES if each.replicas}
        names = (name for name in self._names() if name not in spare or self._pid_file(name).exists())
        return [self._status(name) for name in names]

    def deaths(self) -> list[str]:
        """A line for each process that ended by itself, with its last words."""
        started = [name for name in (*self._names(), *self._guests()) if self._pid_file(name).exists()]
        return [
            f"{name} ended: {self._telling_line(name)} (log: {self.log_file(name)})"
            for name in started
            if not self._is_running(name)
        ]

    def require_free_ports(self, names: Iterable[str]) -> None:
        """Raise for the first port that somebody else has, before anything is started."""
        for name in names:
            if not self._is_running(name):
                for port_name, port in self._part(name).ports.items():
                    require_free(port_name, port, self._command)

    def _names(self) -> list[str]:
        return [*COMPONENTS, *(service.name for service in services.SERVICES)]

    def _guests(self) -> list[str]:
        """What the demo started beside the parts; it ends them itself, unless it was killed."""
        remembered = sorted(file.stem for file in (self.home / "run").glob("*.pid"))
        return [name for name in remembered if name not in self._names()]

    def _part(self, name: str) -> Part:
        for known, make in (("postgres", postgres.part), ("redis", redis.part)):
            if name == known:
                return make(self.home, self.ports)
        if name == "kafka":
            return kafka.part(self.home, self.ports, reached_at=self._reached.kafka)
        if name == "mosquitto":
            return mosquitto.part(self.home, self.ports, {**self.env(), **self._service_environment})
        for part in services.parts(self.home, self._reached, self._service_environment):
            if part.name == name:
                return part
        raise Problem(f"there is no part called {name}: choose one of {', '.join(self._names())}")

    def _launch(self, part: Part) -> None:
        part.prepare()
        log_file = self.log_file(part.name)
        if log_file.exists() and log_file.stat().st_size > LOG_LIMIT_BYTES:
            log_file.replace(log_file.with_suffix(".log.1"))
        self._log_starts[part.name] = log_file.stat().st_size if log_file.exists() else 0
        started = process.spawn(
            part.command(),
            environment={**os.environ, **part.environment},
            directory=part.directory,
            log_file=log_file,
            user=part.user,
        )
        process.write_pid(self._pid_file(part.name), started)

    def _wait(self, part: Part) -> None:
        ready = process.wait_until(
            lambda: not self._is_running(part.name) or part.is_ready(), READY_TIMEOUT_S
        )
        if not self._is_running(part.name):
            self._fail(part, "ended instead of starting")
        if not ready:
            self._fail(part, f"was not ready after {READY_TIMEOUT_S:.0f} s")
        part.after_ready()

    def _fail(self, part: Part, what: str) -> None:
        damaged = "; if its data is damaged, `make reset` removes it" if part.name in COMPONENTS else ""
        raise Problem(
            f"{part.name} {what}: {self._telling_line(part.name)} (log: {self.log_file(part.name)}{damaged})"
        )

    def _telling_line(self, name: str) -> str:
        """The last line since its start that looks like a reason, else the last one."""
        with suppress(OSError), self.log_file(name).open("rb") as log:
            log.seek(self._log_starts.get(name, 0))
            lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
            telling = [line for line in lines if any(word in line for word in TELLING)]
            if lines:
                return (telling or lines)[-1].strip()
        return "it wrote nothing"

    def _end(self, name: str, signum: signal.Signals) -> None:
        if found := process.read_pid(self._pid_file(name)):
            process.end(found, signum)
        self._pid_file(name).unlink(missing_ok=True)

    def _is_running(self, name: str) -> bool:
        return self.pid(name) is not None

    def _pid_file(self, name: str) -> Path:
        return self.home / "run" / f"{name}.pid"

    def _status(self, name: str) -> Status:
        found = process.read_pid(self._pid_file(name))
        alive = found is not None and found.is_alive
        return Status(
            part=name,
            state="running" if alive else "died" if found else "stopped",
            pid=found.pid if found and alive else None,
            port=_port(self._part(name)),
            since=found.started_at if found and alive else None,
            log_file=self.log_file(name),
        )


def _port(part: Part) -> int:
    return next(iter(part.ports.values()))
