"""`python -m scripts.local COMMAND`: what `make start`, `stop`, `status`, `logs`, `env` and `reset` call."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from scripts.local import postgres
from scripts.local.leaving import raise_on_signals, say_no_more
from scripts.local.part import ROOT
from scripts.local.ports import HOST, Ports
from scripts.local.problem import Problem
from scripts.local.stack import Stack

COMMANDS: Final = {
    "up": "everything: components, tables, topics, services",
    "start": "only the components, or the parts that are named",
    "down": "end everything",
    "stop": "end everything, or the parts that are named",
    "status": "what runs",
    "logs": "follow the logs of all parts, or of those that are named",
    "env": "variables for a shell",
    "reset": "remove data and logs",
}

MAKE: Final = {"up": "start", "down": "stop"}
"""What people type, where it is called otherwise."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command and say in one line what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m scripts.local", description=__doc__)
    parser.add_argument("command", choices=COMMANDS, help="; ".join(f"{k}: {v}" for k, v in COMMANDS.items()))
    parser.add_argument("parts", nargs="*", help="such as postgres, kafka, ingest-writer")
    parser.add_argument("--yes", action="store_true", help="do not ask (reset)")
    options = parser.parse_args(arguments)
    raise_on_signals()
    try:
        stack = a_stack(f"make {MAKE.get(options.command, options.command)}")
        run(stack, options.command, options.parts, yes=options.yes)
    except Problem as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say_no_more()
        return 130
    except BrokenPipeError:
        say_no_more()
    return 0


def a_stack(command: str, say: Callable[[str], None] = lambda line: print(line, flush=True)) -> Stack:
    """The platform that OVERWATT_HOME, PORT_OFFSET and the ports' own variables describe."""
    home = Path(os.environ.get("OVERWATT_HOME") or ROOT / ".local")
    return Stack(home, Ports.from_environment(os.environ), command=command, say=say)


def run(stack: Stack, command: str, parts: Sequence[str], *, yes: bool) -> None:
    """One command."""
    match command:
        case "up":
            _start(stack, stack.up, fresh=True)
            print(welcome(stack.ports))
        case "start":
            _start(stack, lambda: stack.start(*parts), fresh=not parts)
        case "down" | "stop":
            _stop(stack, parts)
        case "status":
            print(table(stack))
        case "logs":
            _follow(stack, parts)
        case "env":
            for name, value in stack.env().items():
                print(f"export {name}={shlex.quote(value)}")
        case "reset":
            _reset(stack, yes=yes)


def _start(stack: Stack, work: Callable[[], None], *, fresh: bool) -> None:
    """Leave it running; what a failed or interrupted start has begun ends with it."""
    stack.acquire()
    try:
        if fresh:
            stack.refuse_second_start()
        try:
            work()
        except BaseException:
            if fresh:
                stack.stop()
            raise
    finally:
        stack.release()


def _stop(stack: Stack, parts: Sequence[str]) -> None:
    stack.acquire()
    try:
        for part in parts:
            stack.stop_part(part)
        if not parts:
            stack.stop()
    finally:
        stack.release()


def _follow(stack: Stack, parts: Sequence[str]) -> None:
    wanted = [status for status in stack.status() if not parts or status.part in parts]
    files = [str(status.log_file) for status in wanted if status.log_file.exists()]
    if not files:
        raise Problem(f"there are no logs in {stack.home / 'log'} yet: `make start` begins them")
    os.execvp("tail", ["tail", "-n", "20", "-F", *files])


def _reset(stack: Stack, *, yes: bool) -> None:
    stack.acquire()
    try:
        stack.refuse_second_start()
        directories = [str(path) for path in stack.data_directories() if path.exists()]
        if not directories:
            print("Nothing to remove")
        elif yes or _agreed(f"Remove {', '.join(directories)}? [y/N] "):
            stack.remove_data()
            print(f"Removed {', '.join(directories)}")
    finally:
        stack.release()


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        raise Problem("nobody is there to ask: YES=1 make reset") from None


def table(stack: Stack) -> str:
    """`make status`."""
    rows = [("part", "state", "pid", "port", "since", "log")]
    for each in stack.status():
        since = each.since.astimezone().strftime("%Y-%m-%d %H:%M:%S") if each.since else "-"
        rows.append((each.part, each.state, str(each.pid or "-"), str(each.port), since, str(each.log_file)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def welcome(ports: Ports) -> str:
    """Where to look now."""
    return "\n".join(
        (
            "",
            f"API            http://{HOST}:{ports.api}/docs",
            f"Provisioning   http://{HOST}:{ports.provisioning}/docs",
            f"Metrics        http://{HOST}:{ports.gateway_health}/metrics (of the gateway)",
            f"MQTT           {HOST}:{ports.mosquitto}, with a certificate {ports.mqtt_tls}, "
            f"with a token {ports.mqtt_token}",
            f"Ingest         https://localhost:{ports.ingest_http}/ingest/v1",
            f"Enrolment      https://localhost:{ports.enrol}",
            f"Database       {postgres.url(ports.postgres)}",
            "",
            "`make status`, `make logs`, `make stop`",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
