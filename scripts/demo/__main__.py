"""`make demo`: start everything, tell the fleet's story, show it, stop everything."""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live

from scripts.demo import enrol, hardware, story
from scripts.demo.facts import Verdict, judge
from scripts.demo.observe import Observer
from scripts.demo.sink import Sink
from scripts.demo.view import render
from scripts.local.leaving import ignore_signals, raise_on_signals, say_no_more
from scripts.local.part import ROOT
from scripts.local.ports import HOST, Ports, port_offset
from scripts.local.problem import Problem
from scripts.local.stack import Stack

REFRESH_S: Final = 1.0
SETTLE_S: Final = 5.0
"""Between the first telemetry of every asset and the first dispatch: an alert of an earlier run closes."""
SITE: Final = "park"


def main() -> None:
    """Parse, start, run, stop."""
    parser = argparse.ArgumentParser(
        prog="make demo",
        description="Real PostgreSQL, Redis, Mosquitto and Kafka, the five services, seven simulated devices "
        "on Modbus TCP, two agents, a dispatcher and a webhook receiver, with a live view.",
        epilog="OVERWATT_HOME, MQTT_PORT, API_PORT, FLEET_PORT ... move it beside another one.",
    )
    parser.add_argument("--duration", type=float, help="end by itself after so many seconds, and judge")
    parser.add_argument("--speed", type=float, default=1.0, help="let the hardware live so many times faster")
    parser.add_argument("--picture", type=Path, help="save the last view as an SVG picture")
    arguments = parser.parse_args()
    raise_on_signals()
    home = Path(os.environ.get("OVERWATT_HOME") or ROOT / ".local")
    try:
        verdict = run(home, Ports.from_environment(os.environ), arguments)
    except Problem as problem:
        sys.exit(f"Error: {problem}")
    except KeyboardInterrupt:
        with suppress(OSError):
            print("Stopped; no process is left.", flush=True)
        say_no_more()
        return
    except BrokenPipeError:
        say_no_more()
        return
    print("\n".join(verdict.lines()))
    sys.exit(0 if verdict.passed else 1)


def run(home: Path, ports: Ports, wanted: argparse.Namespace) -> Verdict:
    """Everything between two prompts."""
    first = _port("FLEET_PORT", 15020 + port_offset(os.environ))
    devices = range(first, first + hardware.asset_count())
    assets = home / "demo" / "assets.yaml"
    with ExitStack() as on_exit:
        sink = on_exit.enter_context(Sink(HOST, 0))
        stack = on_exit.enter_context(
            Stack(home, ports, service_environment=_settings(assets, sink), command="make demo", say=_say)
        )
        on_exit.callback(ignore_signals)
        hardware.require_free(devices, "make demo")
        sites = hardware.write_assets(assets, list(devices))
        _say("Starting real components, then our services:")
        stack.up()
        _say("  fleet: starting (the first time it computes a year of weather and load)")
        on_exit.enter_context(hardware.fleet(stack, assets, speed=wanted.speed))
        for site in sites:
            took_s = enrol.bring_in(stack, site)
            how = "known by its certificate" if took_s is None else f"enrolled in {took_s:.1f} s"
            _say(f"  box {site}: {how}, mode active")
            on_exit.enter_context(hardware.agent(stack, site, assets, enrol.identity_of(stack, site)))
        sink.secrets.append(_register(stack, sink.url))
        console = Console(record=wanted.picture is not None, width=118 if wanted.picture else None)
        on_exit.callback(ignore_signals)
        verdict = asyncio.run(show(stack, sink, console, wanted.duration, list(chain(*sites.values()))))
        if wanted.picture:
            save_picture(console, wanted.picture)
        return verdict


async def show(
    stack: Stack, sink: Sink, console: Console, duration_s: float | None, asset_ids: Sequence[str]
) -> Verdict:
    """The live view, and the story by the clock; ends with a verdict when `duration_s` is over."""
    env = stack.env()
    observer = Observer(env["API_URL"], env["DATABASE_URL"], lambda: len(sink.opened()))
    begun, begun_s = datetime.now(UTC), time.monotonic()
    live_s: float | None = None
    done = 0
    with Live(console=console, auto_refresh=False, screen=_is_live(console)) as live:
        while True:
            problems = stack.deaths()
            if problems and live_s is None:
                raise Problem(problems[0])
            now_s = time.monotonic()
            if live_s is not None and (step := story.due(now_s - live_s, done)):
                done += observer.dispatch(step.site_id, step.mw, problems)
            snapshot = await observer.snapshot(problems)
            if live_s is None and snapshot.has_heard(asset_ids, begun):
                live_s = now_s + SETTLE_S
            title = f"{now_s - begun_s:.0f} s" + ("" if duration_s is None else f" of {duration_s:.0f} s")
            view = render(snapshot, title=title, addresses=_addresses(stack))
            if _is_live(console):
                live.update(view, refresh=True)
            if duration_s is not None and now_s - begun_s > duration_s:
                break
            await asyncio.sleep(REFRESH_S)
    console.print(view)
    sent = [dispatch for dispatch in observer.dispatches([]) if dispatch.target == SITE]
    return judge(
        snapshot,
        has_heard=snapshot.has_heard(asset_ids, begun),
        site_dispatches=sent[:done],
        verified_pages=len(sink.opened()),
    )


def save_picture(console: Console, path: Path) -> None:
    """What was printed, as SVG; the fonts that rich names are on somebody else's server."""
    svg = console.export_svg(title="make demo")
    path.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))


def _is_live(console: Console) -> bool:
    return console.is_terminal and not console.record


def _addresses(stack: Stack) -> list[tuple[str, str]]:
    logs = stack.home / "log"
    return [
        ("API", f"{stack.env()['API_URL']}/docs"),
        ("metrics", f"http://{HOST}:{stack.ports.writer_health}/metrics"),
        ("MQTT", f"mqtts://{HOST}:{stack.ports.mqtt_tls}, mqtt://{HOST}:{stack.ports.mosquitto}"),
        ("logs", str(logs.relative_to(ROOT) if logs.is_relative_to(ROOT) else logs)),
    ]


def _settings(assets: Path, sink: Sink) -> dict[str, str]:
    """What the services of a demo are told beyond their defaults."""
    return {
        "ASSETS_PATH": str(assets),
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        "WEBHOOK_ALLOWED_PORTS": f"443,8443,{sink.port}",
    }


def _register(stack: Stack, url: str) -> str:
    """The demo's rule and channel, as an operator would add them; the channel's secret."""
    rule = ["--metric", story.ALERT_METRIC, "--comparison", "GT", "--threshold", str(story.ALERT_THRESHOLD)]
    rule += ["--clear", str(story.ALERT_CLEAR), "--severity", "2", "--name", "a battery gives more than 7 MW"]
    _escalation(stack, ["rule", "add", "--tenant", "default", "--replace", *rule])
    answer = _escalation(
        stack, ["channel", "add", "--tenant", "default", "--replace", "--name", "demo", "--url", url]
    )
    return answer.split()[-1]


def _escalation(stack: Stack, arguments: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "services.escalation", *arguments],
        cwd=ROOT,
        env={**os.environ, **stack.service_env("escalation")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Problem(f"python -m services.escalation {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _port(variable: str, default: int) -> int:
    value = os.environ.get(variable, str(default))
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 65_000):
        raise Problem(f"{variable}={value} is not a port: give a number from 1 to 65000")
    return int(value)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
