"""`make chaos`: hurt a running platform on purpose, and prove that no sample is lost or doubled."""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from scripts.chaos import disks
from scripts.chaos.faults import inflict
from scripts.chaos.plan import GROUPS, Fault, due, plan
from scripts.chaos.report import Done, Result, publish, report, write
from scripts.chaos.verdict import judge, prove_checker
from scripts.chaos.watch import Watch
from scripts.chaos.world import World, a_world, as_json
from scripts.local import leaving
from scripts.local.problem import Problem

PAUSE_S: Final = (0.5, 2.0)
WARM_ROWS: Final = 200
EPILOG: Final = "faults:\n" + "\n".join(f"  {name:<8} {what}" for name, what in GROUPS.items())


class Run:
    """One run; `done` and `wrong` grow as it goes."""

    def __init__(self, arguments: argparse.Namespace, world: World) -> None:
        self._arguments = arguments
        self._world = world
        self._busy: set[str] = set()
        self.watch = Watch(world, self._busy)
        self.done: list[Done] = []
        self.wrong: list[str] = []

    async def suffer(self, faults: Sequence[Fault]) -> None:
        """All of them, some at a time, or until the time is over."""
        waiting = list(faults)
        deadline_s = self.watch.now_s() + self._arguments.minutes * 60
        chance = random.Random(self._arguments.seed)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._arguments.at_once):
                group.create_task(self._lane(waiting, deadline_s, random.Random(chance.random())))
        if waiting:
            say(f"  the time is over: {len(waiting)} of {len(faults)} faults were left out")

    async def _lane(self, waiting: list[Fault], deadline_s: float, chance: random.Random) -> None:
        while waiting and self.watch.now_s() < deadline_s:
            fault = due(waiting, self._busy)
            if fault is None:
                await asyncio.sleep(0.1)
                continue
            waiting.remove(fault)
            self._busy |= fault.parts
            began_s = self.watch.now_s()
            try:
                await inflict(self._world, fault, chance)
            except Problem as problem:
                self.wrong.append(f"{fault.label}: {problem}")
            ended_s = self.watch.now_s()
            self._busy -= fault.parts
            self.done.append(Done(fault, began_s, ended_s))
            say(f"  {began_s:6.0f} s  [{len(self.done):>3}/{self._arguments.faults}]  {fault.label}, "
                f"{ended_s - began_s:.1f} s")  # fmt: skip
            await asyncio.sleep(chance.uniform(*PAUSE_S))


async def run(arguments: argparse.Namespace, home: Path, places: Mapping[str, Path]) -> Result:
    """Start, hurt, judge, report; a signal cancels it, once, so that nothing disturbs the stopping."""
    _cancel_on_signals()
    groups = set(arguments.groups.split(",")) - (set() if places else {"disk"})
    left_out = "" if places else "full disks: they need root, who may mount small file systems"
    if left_out:
        say(f"left out: {left_out}")
    faults = plan(arguments.seed, arguments.faults, groups, outage_s=arguments.outage)
    async with a_world(home, places, agents=arguments.agents, seed=arguments.seed, say=say) as world:
        began_at_s = time.time()
        one = Run(arguments, world)
        async with one.watch.watching():
            await _warm(world)
            one.wrong += await prove_checker(world)
            say("the checker notices a removed, a doubled and an altered row; now the faults")
            await one.suffer(faults)
        verdict = await judge(world, agents=arguments.agents, seed=arguments.seed, say=say)
        verdict.wrong += one.wrong
        result, panels = await report(
            world, one.watch, one.done, verdict,
            command=command_of(arguments), seed=arguments.seed,
            began_at_s=began_at_s, ended_at_s=time.time(), left_out=left_out,
        )  # fmt: skip
    write(result, panels, one.done, Path(arguments.out))
    if arguments.docs:
        publish(result, panels, one.done)
    return result


def command_of(arguments: argparse.Namespace) -> str:
    """What brings the same faults again."""
    given = {name: getattr(arguments, name) for name in ("seed", "faults", "outage", "at_once")}
    return " ".join(["make chaos", *(f"{name.upper()}={value:g}" for name, value in given.items())])


def _cancel_on_signals() -> None:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task

    def cancel() -> None:
        for each in leaving.ENDINGS:
            loop.remove_signal_handler(each)
        leaving.ignore_signals()
        task.cancel()

    for each in leaving.ENDINGS:
        if signal.getsignal(each) != signal.SIG_IGN:
            loop.add_signal_handler(each, cancel)


async def _warm(world: World) -> None:
    while (await world.rows("select count(*) from telemetry"))[0][0] < WARM_ROWS:
        await asyncio.sleep(0.2)


def say(line: str) -> None:
    """Progress: stdout is for the result."""
    print(line, file=sys.stderr, flush=True)


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Exits with a sentence where one cannot be used."""
    parser = argparse.ArgumentParser(
        prog="make chaos",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="which faults, when, in which order (1)")
    parser.add_argument("--faults", type=int, default=40, help="how many (40)")
    parser.add_argument("--groups", default=",".join(GROUPS), metavar="A,B", help="of which kinds (all)")
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="faults at the same time (2)")
    parser.add_argument(
        "--outage", type=float, default=60, metavar="S", help="length of the writer's outage (60)"
    )
    parser.add_argument("--minutes", type=float, default=22, help="begin no fault after that (22)")
    parser.add_argument("--agents", type=int, default=3, help="boxes, each with four assets at 5 Hz (3)")
    parser.add_argument(
        "--out", default=".local/chaos", help="where chaos.json and chaos.svg go (.local/chaos)"
    )
    parser.add_argument("--docs", action="store_true", help="write the figures into docs/chaos.md, too")
    found = parser.parse_args(arguments)
    if unknown := set(found.groups.split(",")) - GROUPS.keys():
        parser.error(f"--groups has {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return found


def main() -> int:
    """0: the promise held."""
    arguments = read_arguments()
    home = Path(tempfile.mkdtemp(prefix="overwatt-chaos-", dir="/tmp"))
    home.chmod(0o755)
    places = disks.mount(home)
    result = None
    try:
        result = asyncio.run(run(arguments, home, places))
    except Problem as problem:
        say(f"Error: {problem}")
    except asyncio.CancelledError:
        say("interrupted: everything was ended")
    finally:
        disks.unmount(places)
        if result and result.wrong:
            say(f"logs: {home / 'log'}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    if result is None:
        return 1
    print(as_json({name: getattr(result, name) for name in result.__slots__}), end="")
    print(result.line())
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
