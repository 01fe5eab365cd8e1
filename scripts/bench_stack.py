"""What benchmarks share: a platform in a home of its own, progress on stderr, the result in two forms."""

import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.local.ports import Ports
from scripts.local.problem import Problem
from scripts.local.stack import Stack


@contextmanager
def a_home() -> Iterator[Path]:
    """An empty directory that the servers' own users can enter; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="overwatt-bench-", dir="/tmp") as directory:
        home = Path(directory)
        home.chmod(0o755)
        yield home


@contextmanager
def a_stack(home: Path, settings: Mapping[str, str]) -> Iterator[Stack]:
    """A platform on free ports, nothing of it started yet; its data goes last: they say what runs."""
    stack = Stack(home, Ports.free(), service_environment=dict(settings), say=say)
    try:
        with stack:
            yield stack
    finally:
        stack.remove_data()


def say(line: str) -> None:
    """Progress: stdout is for the result."""
    print(line, file=sys.stderr, flush=True)


def report(result: Any) -> None:
    """A frozen dataclass as JSON, and its `line()` for people."""
    print(json.dumps(asdict(result)))
    print(result.line())


def run(main: Callable[[], None]) -> None:
    """Call it; a problem of the platform ends it with a sentence, SIGTERM as Ctrl-C does: nothing stays."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except Problem as problem:
        sys.exit(f"Error: {problem}")
