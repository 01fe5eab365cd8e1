"""After the faults: let everything drain, compare ledgers with the database, and say what was found."""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Final

import asyncpg

from overwatt.reasons import MAX_AHEAD_S, Reason, is_final
from scripts.chaos import bad, ledger, simple
from scripts.chaos.agents import write_assets
from scripts.chaos.ledger import Findings, Sample
from scripts.chaos.world import World

DRAIN_S: Final = 180.0
COPIED_S: Final = 15.0
BURIED_S: Final = 240.0
REPEAT_AFTER_S: Final = 20.0
HORIZON_S: Final = 80 * 86_400
"""Retention less ten days: what is older is refused for good."""
COPY: Final = """
create temp table telemetry on commit drop as table public.telemetry;
create temp table telemetry_other on commit drop as table public.telemetry_other;
"""
TAMPERED: Final = {
    "lost": "delete from telemetry where (device_key, ts) = (select device_key, ts from telemetry limit 1)",
    "doubled": "insert into telemetry select * from telemetry limit 1",
    "changed": """update telemetry set active_power_w = active_power_w + 1
                  where (device_key, ts) = (select device_key, ts from telemetry
                                            where active_power_w is not null limit 1)""",
}
KEYS: Final = """
select d.device_id, (extract(epoch from t.ts) * 1000000)::bigint
from telemetry t join device d using (device_key)
"""
REFUSED: Final = "select device_id, reason, sum(count)::int as count from rejection group by 1, 2"
LETTERS: Final = "select payload from rejection where device_id = any($1::text[]) and payload <> ''"


@dataclass(slots=True)
class Verdict:
    """Numbers of rows, and what is wrong in sentences; nothing wrong: the promise held."""

    samples: int = 0
    """that agents and careful devices had committed to their spools or ledgers"""
    lost: int = 0
    doubled: int = 0
    changed: int = 0
    foreign: int = 0
    destroyed: int = 0
    """went with a wiped disk before they were acknowledged"""
    held: int = 0
    """of a clock too far ahead: still in the spools"""
    too_old: int = 0
    """of a clock too far behind: refused for good, and counted"""
    careless_sent: int = 0
    careless_lost: int = 0
    thrice: int = 0
    conflicts: int = 0
    bad_injected: int = 0
    bad_buried: int = 0
    wrong: list[str] = field(default_factory=list)


async def prove_checker(world: World) -> list[str]:
    """Whether one removed, one doubled and one altered row are noticed; on a copy that nobody keeps."""
    blind = []
    async with world.database() as db:
        for what, tamper in TAMPERED.items():
            async with db.transaction():
                await db.execute(COPY)
                before = await ledger.stored(db)
                await db.execute(tamper)
                findings = ledger.compare(before, await ledger.stored(db))
            if len(getattr(findings, what)) != 1 or not ledger.compare(before, before).is_clean:
                blind.append(f"the checker does not notice a row that is {what}")
    return blind


async def judge(world: World, *, agents: int, seed: int, say: Callable[[str], None]) -> Verdict:
    """Drain and compare."""
    verdict = Verdict()
    for talker in world.simples:
        talker.finish()
    await asyncio.to_thread(world.bad.finish)
    spooled = await _drain(world, agents, seed, say)
    await _until(lambda: all(each.is_settled for each in world.simples), 60)
    verdict.wrong += [
        f"{each.device} has an unanswered message" for each in world.simples if not each.is_settled
    ]
    verdict.wrong += [fault for each in world.simples for fault in each.faults]
    await _judge_rows(world, verdict, spooled)
    await _judge_refusals(world, verdict)
    return verdict


async def _drain(world: World, agents: int, seed: int, say: Callable[[str], None]) -> list[Sample]:
    """Agents whose hardware is silent send what their disks hold, copied ones too; all that was spooled."""
    silent = world.home / "silent.yaml"
    write_assets(silent, agents, seed, until_s=0.0)
    disks = max(len(agent.spools) for agent in world.agents)
    for number in range(disks + 2):
        await asyncio.gather(*(agent.end(signal.SIGTERM) for agent in world.agents))
        spooled = await asyncio.to_thread(
            lambda: [each for agent in world.agents for each in agent.spooled()]
        )
        wanted = _storable(spooled) - _destroyed(world)
        missing = wanted - await _stored_keys(world)
        if number >= disks and not missing:
            break
        say(f"  draining: {len(missing)} of {len(wanted)} samples are not there yet")
        for agent in world.agents:
            is_copy = 0 < number < len(agent.spools)
            agent.running = agent.start(spool=agent.spools[number] if is_copy else None, assets=silent)
        # What is missing may lie on a copied disk, whose turn comes.
        deadline = time.monotonic() + (DRAIN_S if number + 1 >= disks else COPIED_S)
        while time.monotonic() < deadline and wanted - await _stored_keys(world):
            await asyncio.sleep(1)
    await asyncio.gather(*(agent.end(signal.SIGTERM) for agent in world.agents))
    return spooled


async def _judge_rows(world: World, verdict: Verdict, spooled: list[Sample]) -> None:
    destroyed, wanted = _destroyed(world), _storable(spooled)
    careless = next(each for each in world.simples if each.device == simple.CARELESS)
    sent = {each[:2] for each in careless.samples}
    whole = [each for talker in world.simples if talker is not careless for each in talker.samples]
    expected = [each for each in spooled if each[:2] in wanted] + whole + careless.samples
    async with world.database() as db:
        stored = [each for each in await ledger.stored(db) if each[0] != simple.FLOOD]
    findings: Findings = ledger.compare(expected, stored)
    lost = [key for key in findings.lost if key not in sent and key not in destroyed]
    verdict.samples = len(wanted) + len(whole)
    verdict.lost, verdict.doubled = len(lost), len(findings.doubled)
    verdict.changed, verdict.foreign = len(findings.changed), len(findings.foreign)
    verdict.destroyed = sum(key in destroyed for key in findings.lost)
    verdict.careless_sent = len(sent)
    verdict.careless_lost = sum(key in sent for key in findings.lost)
    for what, keys in {**asdict(findings), "lost": lost}.items():
        if keys:
            verdict.wrong.append(f"{len(keys)} {what}: {', '.join(map(str, keys[:5]))}")
    now_us = time.time_ns() // 1_000
    ahead = {
        each[:2] for each in spooled if each[1] is not None and each[1] > now_us + MAX_AHEAD_S * 1_000_000
    }
    held = await asyncio.to_thread(lambda: {key for agent in world.agents for key in agent.held()})
    verdict.held = len(held & ahead)
    verdict.too_old = sum(
        1 for each in spooled if each[1] is not None and each[1] < now_us - HORIZON_S * 1_000_000
    )
    if gone := ahead - held - destroyed:
        verdict.wrong.append(f"{len(gone)} samples from the future were given up: {list(gone)[:3]}")
    if any(each[1] is None for each in spooled if (each[0], each[1]) not in destroyed):
        verdict.wrong.append("samples were never dated")


async def _judge_refusals(world: World, verdict: Verdict) -> None:
    verdict.bad_injected = len(world.bad.injected)
    names = [*bad.DEVICES, bad.STRANGER]
    began_s = repeated_s = time.monotonic()
    while True:
        buried = {bytes(row["payload"]) for row in await world.rows(LETTERS, names)}
        missing, now_s = world.bad.injected.keys() - buried, time.monotonic()
        if not missing or now_s - began_s > BURIED_S:
            break
        if now_s - repeated_s > REPEAT_AFTER_S:  # the broker may have lost them: nobody else repeats them
            world.bad.repeat(missing)
            repeated_s = now_s
        await asyncio.sleep(1)
    verdict.bad_buried = len(buried & world.bad.injected.keys())
    if buried != world.bad.injected.keys():
        verdict.wrong.append(
            f"dead letters: {len(missing)} of the bad messages are missing, "
            f"{len(buried - world.bad.injected.keys())} are none of them"
        )
    verdict.thrice = next(each.sent for each in world.simples if each.device == simple.THRICE)
    too_old = 0
    for row in await world.rows(REFUSED):
        device, reason, count = row["device_id"], Reason(row["reason"]), row["count"]
        if device == simple.THRICE and reason is Reason.CONFLICTING_SAMPLE:
            verdict.conflicts = count
        elif device.startswith("site-") and reason is Reason.TIME_TOO_OLD:
            too_old += count
        elif device not in names and is_final(reason):
            verdict.wrong.append(f"{count} good samples of {device} were refused: {reason}")
    if verdict.conflicts < verdict.thrice:
        verdict.wrong.append(
            f"{verdict.thrice} conflicting samples were sent, {verdict.conflicts} were rejected"
        )
    if too_old < verdict.too_old:  # more: one that a copied disk sent again, long after it was forgotten
        verdict.wrong.append(f"{verdict.too_old} samples were too old, {too_old} were rejected as that")


def _storable(spooled: list[Sample]) -> frozenset[tuple[str, int]]:
    """Keys whose time lies where the database takes it."""
    now_us = time.time_ns() // 1_000
    low, high = now_us - HORIZON_S * 1_000_000, now_us + MAX_AHEAD_S * 1_000_000
    return frozenset((each[0], each[1]) for each in spooled if each[1] is not None and low <= each[1] <= high)


def _destroyed(world: World) -> set[ledger.Key]:
    return {key for agent in world.agents for key in agent.destroyed}


async def _stored_keys(world: World) -> set[tuple[str, int]]:
    try:
        async with world.database() as db:
            return {(device, ts_us) for device, ts_us in await db.fetch(KEYS)}
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return set()


async def _until(condition: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
