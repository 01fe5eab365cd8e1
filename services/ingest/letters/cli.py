"""`python -m services.ingest dead-letters list|explain|replay`."""

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from overwatt import topics
from overwatt.reasons import Reason, is_final
from services.ingest.letters import store
from services.ingest.letters.letter import Letter, advice, again, readable
from services.ingest.letters.replay import replay
from services.ingest.registry import Registry
from services.ingest.settings import Settings
from services.runtime import clock
from services.runtime.bus import follow, producer
from services.runtime.errors import Invalid, Unavailable
from services.runtime.log import setup_logging
from services.runtime.postgres import Pool, connect_pool, transaction
from services.runtime.settings import load_settings

LOADED_WITHIN_S: Final = 60.0
UNITS: Final = {"m": 60, "h": 3_600, "d": 86_400}
EPILOG: Final = """\
examples:
  python -m services.ingest dead-letters list --since 1h
  python -m services.ingest dead-letters list --tenant tenant-a --reason DEVICE_UNKNOWN --json
  python -m services.ingest dead-letters explain 42
  python -m services.ingest dead-letters replay 42 43
  python -m services.ingest dead-letters replay --tenant tenant-a --reason DEVICE_UNKNOWN --since 2d

A replay goes through the same validation as the first time. What is stored already is not stored twice, so
it may be repeated. docs/dead_letters.md says more. Environment: DATABASE_URL, KAFKA_BOOTSTRAP (replay).
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m services.ingest dead-letters",
        description="What ingest could not use: look at it, learn what would be right, put it in again.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    acts = top.add_subparsers(dest="act", required=True, metavar="list | explain | replay")
    shown = acts.add_parser("list", help="the newest, a line each")
    shown.add_argument("--json", action="store_true", help="a line of JSON each")
    acts.add_parser("explain", help="what is wrong, what would be right, and the payload")
    acts.add_parser("replay", help="through the same validation again; says what became of it")
    for name, act in acts.choices.items():
        if name != "list":
            act.add_argument("ids", nargs="*", type=int, metavar="ID", help="from `list`")
        act.add_argument("--tenant")
        act.add_argument("--device", help="the sender, or an asset of an agent")
        act.add_argument("--reason", choices=[str(each) for each in Reason], metavar="REASON")
        act.add_argument("--since", help="30m, 12h, 7d, or a time such as 2026-05-01T12:00Z")
        act.add_argument("--limit", type=int, default=50 if name == "list" else 1_000)
    return top


def main(arguments: Sequence[str]) -> int:
    """One command; its exit code: 2 for a wrong command, 1 when something is not there or not stored."""
    setup_logging("dead-letters", "error")
    try:
        return asyncio.run(run(arguments))
    except (Invalid, Unavailable) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2 if isinstance(error, Invalid) else 1


async def run(arguments: Sequence[str]) -> int:
    """One command; its exit code. Raises Invalid, Unavailable."""
    wanted = parser().parse_args(arguments)
    settings = load_settings(Settings)
    filters = {
        "tenant": wanted.tenant,
        "device": wanted.device,
        "reason": wanted.reason,
        "since": since(wanted.since, clock.now()) if wanted.since else None,
        "ids": getattr(wanted, "ids", None) or None,
    }
    if wanted.act != "list" and not any(filters.values()):
        raise Invalid("say which: IDs from `list`, or a filter such as --since 1d")
    async with connect_pool(settings.database_url, name="dead-letters") as pool:
        async with transaction(pool) as db:
            letters = await store.find(db, **filters, limit=wanted.limit)
        if missing := set(filters["ids"] or ()) - {letter.id for letter in letters}:
            raise Invalid(f"there is no dead letter {', '.join(map(str, sorted(missing)))}: see `list`")
        match wanted.act:
            case "list":
                print(as_json(letters) if wanted.json else table(letters), end="" if wanted.json else "\n")
            case "explain":
                print("\n\n".join(map(explained, letters)) or "none")
            case "replay":
                return await _replay(letters, settings, pool)
    return 0


async def _replay(letters: Sequence[Letter], settings: Settings, pool: Pool) -> int:
    registry, loaded = Registry(), asyncio.Event()
    following = asyncio.create_task(
        follow(settings.kafka_bootstrap, topics.REGISTRY, apply=registry.apply, loaded=loaded)
    )
    try:
        async with asyncio.timeout(LOADED_WITHIN_S):
            await loaded.wait()
    except TimeoutError:
        raise Unavailable(f"Kafka at {settings.kafka_bootstrap} gave no registry") from None
    finally:
        following.cancel()
        await asyncio.wait([following])
    async with producer(settings.kafka_bootstrap, name="dead-letters") as out:
        results = await replay(
            letters, kafka=settings.kafka_bootstrap, pool=pool, producer=out, registry=registry
        )
    for result in results:
        print(f"{result.letter.id}: {result}")
    stored = sum(result.is_stored for result in results)
    print(f"{stored} of {len(results)} stored whole")
    return 0 if stored == len(results) else 1


def since(text: str, now: datetime) -> datetime:
    """30m, 12h, 7d ago, or a time with its offset from UTC. Raises Invalid."""
    if span := re.fullmatch(r"(\d{1,6})([mhd])", text):
        return now - timedelta(seconds=int(span[1]) * UNITS[span[2]])
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"--since {text!r}: 30m, 12h, 7d or 2026-05-01T12:00Z would be right") from None
    if at.tzinfo is None:
        raise Invalid(f"--since {text!r} has no offset from UTC; append Z")
    return at


def table(letters: Sequence[Letter]) -> str:
    """A line each, and their sum."""
    lines = [
        f"{each.id:>8}  {each.at:%Y-%m-%d %H:%M:%S}  {each.reason:<18}  {_who(each):<40}  {each.count:>6}  "
        f"{each.detail[:80]}"
        for each in letters
    ]
    head = f"{'id':>8}  {'at (UTC)':<19}  {'reason':<18}  {'tenant/device (asset)':<40}  {'count':>6}  detail"
    total = sum(each.count for each in letters)
    return "\n".join([head, *lines, f"{len(letters)} dead letters for {total} messages and samples"])


def as_json(letters: Sequence[Letter]) -> str:
    """A line each."""
    return "".join(
        json.dumps(
            {
                "id": each.id,
                "at": each.at.isoformat(),
                "tenant": each.tenant,
                "device": each.device,
                "asset": each.asset,
                "reason": each.reason,
                "detail": each.detail,
                "count": each.count,
                "topic": each.topic,
                "bytes": len(each.payload),
            }
        )
        + "\n"
        for each in letters
    )


def explained(letter: Letter) -> str:
    """What is wrong, what would be right, and the payload."""
    how = again(letter)
    known = letter.reason in set(Reason)
    lines = [
        f"dead letter  {letter.id}, {letter.at.isoformat()}" + (f", {letter.kafka}" if letter.kafka else ""),
        f"sender       {_who(letter)}" + (f" on {letter.topic}" if letter.topic else ""),
        f"reason       {letter.reason}"
        + (f" ({'final' if is_final(Reason(letter.reason)) else 'may come again later'})" if known else ""),
        f"wrong        {letter.detail or '-'}",
        f"right        {advice(letter) or '-'}",
        f"replay       {how if isinstance(how, str) else 'possible'}",
    ]
    if letter.count > 1:
        lines.append(f"count        {letter.count}")
    if letter.payload:
        lines += [f"payload      {len(letter.payload)} bytes", readable(letter.payload)]
    return "\n".join(lines)


def _who(letter: Letter) -> str:
    asset = f" ({letter.asset})" if letter.asset and letter.asset != letter.device else ""
    return f"{letter.tenant or '-'}/{letter.device or '-'}{asset}"
