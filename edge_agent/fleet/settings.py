"""The command line of the fleet."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.fleet.year import default_cache_dir


@dataclass(frozen=True, slots=True)
class Settings:
    """What to serve, where, and how fast."""

    assets: Path
    base_port: int
    host: str | None
    speed: float
    start: datetime
    cache_dir: Path


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Settings from the command line; exits with a usage message when they make no sense."""
    parser = argparse.ArgumentParser(prog="python -m edge_agent.fleet", description=__doc__)
    parser.add_argument("--assets", type=Path, required=True, help="assets file (YAML)")
    parser.add_argument("--base-port", type=_port, default=15020, help="first port of assets without one")
    parser.add_argument("--host", help="listen here instead of at each asset's host")
    parser.add_argument("--speed", type=_speed, default=1.0, help="model seconds in a second")
    parser.add_argument("--start", type=_instant, help="instant of the model's calendar, ISO 8601, else now")
    parser.add_argument("--cache-dir", type=Path, default=default_cache_dir(), help="for computed years")
    known = parser.parse_args(arguments)
    return Settings(
        assets=known.assets,
        base_port=known.base_port,
        host=known.host,
        speed=known.speed,
        start=known.start or datetime.now(UTC),
        cache_dir=known.cache_dir,
    )


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port; it must be 1 to 65535")
    return port


def _speed(text: str) -> float:
    speed = float(text)
    if not 0 < speed <= 100_000:
        raise argparse.ArgumentTypeError(f"{text} is no speed; it must be above 0 and at most 100000")
    return speed


def _instant(text: str) -> datetime:
    """Without an offset it is UTC."""
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
