"""The agent's command line: enrol this box, run it, look at one device, or list the drivers."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from edge_agent.agent import Agent
from edge_agent.clock import Clock, machine_boot_id
from edge_agent.drivers import all_drivers, connect
from edge_agent.errors import Invalid, Unavailable
from edge_agent.identity import identity_directory
from edge_agent.log import Log, setup_logging
from edge_agent.settings import Settings, read_settings
from edge_agent.spool import SpoolFile
from edge_agent.spool_thread import Spool
from overwatt.inventory import Asset

EPILOG = """\
a new box:    python -m edge_agent enroll '<link>' --email <yours>, then python -m edge_agent
one asset:    HEADEND_GRPC=http://127.0.0.1:1883 ASSET_ID=bess-1 MAX_MW=60 python -m edge_agent
a whole site: HEADEND_GRPC=http://127.0.0.1:1883 SITE_ID=site-a ASSETS_PATH=assets.yaml python -m edge_agent
one look:     python -m edge_agent read --host 192.168.1.20 --port 502

environment
  IDENTITY_DIR                 who an enrolled box is (~/.local/state/overwatt/identity, if it is there and
                               no broker is named): tenant, box, broker, assets; mutual TLS
  HEADEND_GRPC, HEADEND_MQTT   address of the MQTT broker, or MQTT_HOST and MQTT_PORT (1883)
  TENANT_ID                    whose agent this is (default)
  SITE_ID, ASSETS_PATH         gateway: all assets of this site in that file; GATEWAY_ID (SITE_ID)
  ASSET_ID                     single asset: ASSET_NAME ASSET_TYPE ASSET_LOCATION SITE_ID SITE_NAME
                               CAPACITY_MWHR MAX_MW MIN_MW EFFICIENCY RAMP_RATE_MW_PER_MIN
                               DRIVER (simulated) DEVICE_HOST DEVICE_PORT DEVICE_UNIT
  TELEMETRY_INTERVAL_MS        how often devices are read (4000)
  SPOOL_PATH, SPOOL_MAX_MB     where samples wait for the cloud, and at most how much (256)
  DEADMAN_S                    without the cloud for so long, devices get their own default back (120)
  CLOCK_TRUSTED                1 on a development machine without NTP
  LOG_LEVEL                    debug, info, warning or error (RUST_LOG is read too)
"""

log = Log("edge_agent")


async def run(settings: Settings) -> None:
    stopped = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    drivers = [(asset, connect(asset)) for asset in settings.assets]
    file = SpoolFile(settings.spool_path, max_bytes=settings.spool_max_bytes, boot=machine_boot_id())
    async with Spool(file) as spool:
        clock = Clock(declared=settings.clock_trusted)
        log.info(
            "starting",
            agent=f"{settings.tenant}/{settings.device}",
            mode=settings.mode,
            site=settings.site,
            assets=[asset.id for asset in settings.assets],
            broker=f"{settings.mqtt_host}:{settings.mqtt_port}",
            tls=settings.identity is not None,
            spool=str(settings.spool_path),
            clock_trusted=clock.is_trusted,
        )
        await Agent(settings, drivers, spool, clock).run(stopped)
    log.info("stopped")


async def look(arguments: argparse.Namespace) -> None:
    """What a device says about itself, read with the driver that an agent would use."""
    drivers = all_drivers()
    driver = drivers.get(arguments.driver)
    if driver is None or driver.describe is None:
        able = ", ".join(name for name, each in drivers.items() if each.describe)
        raise Invalid(f"--driver is {arguments.driver!r}; these can be looked at: {able}")
    place = {"host": arguments.host, "port": arguments.port, "unit": arguments.unit}
    asset = Asset(id="device", site_id="", site_name="", name="device", driver=driver.name, extra=place)
    print(await driver.describe(asset))


def say(step: str, what: str) -> None:
    print(f"{step:<12} {what}", flush=True)


def bring_in(arguments: argparse.Namespace, env: Mapping[str, str]) -> None:
    """`enroll` and `renew`, each step on a line."""
    from edge_agent.enrolment import enroll, renew  # a running agent need not hold what these need
    from edge_agent.greeting import greet

    directory = arguments.identity or identity_directory(env)
    if arguments.command == "renew":
        renew(directory, say=say)
        say("done", "a running agent takes it up within the hour; start it again to have it at once")
        return
    box = enroll(arguments.link, arguments.email, directory, say=say)
    try:
        greet(box)
    except Unavailable as error:
        raise Unavailable(f"{error}. The box has its identity: start the agent, it keeps trying") from error
    say("broker", f"{box.mqtt_host}:{box.mqtt_port} lets this box in")
    named = (
        "" if directory == identity_directory({**env, "IDENTITY_DIR": ""}) else f"IDENTITY_DIR={directory} "
    )
    say("done", f"start the agent with: {named}python -m edge_agent")


def list_drivers(*, as_json: bool) -> None:
    drivers = all_drivers().values()
    if as_json:
        rows = [{"name": each.name, "tier": each.tier, "summary": each.summary} for each in drivers]
        print(json.dumps(rows, indent=2))
        return
    for each in drivers:
        print(f"{each.name:<12} tier={each.tier:<7} {each.summary}")


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="python -m edge_agent",
        usage="python -m edge_agent [-h] [run | enroll | renew | read | drivers] ...",
        description="Reads devices, keeps every sample until the cloud has it, and obeys dispatch.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(dest="command", title="commands", metavar="", prog="python -m edge_agent")
    commands.add_parser("run", help="run the agent (this is also what happens without a command)")
    bringing = commands.add_parser("enroll", help="bring this box in, with the link that it was given")
    bringing.add_argument("link", help="https://...#...: all of it, in single quotes")
    bringing.add_argument("--email", required=True, help="the address that the invitation was sent to")
    renewing = commands.add_parser(
        "renew", help="get a fresh certificate now (a running agent does it itself)"
    )
    for each in (bringing, renewing):
        each.add_argument("--identity", type=Path, metavar="DIR", help="where it is kept (IDENTITY_DIR)")
    reading = commands.add_parser("read", help="say what stands at an address: models and values")
    reading.add_argument("--host", required=True, help="name or address of the device")
    reading.add_argument("--port", type=int, default=502, help="TCP port (502)")
    reading.add_argument("--unit", type=int, default=1, help="Modbus unit id (1)")
    reading.add_argument("--driver", default="sunspec", help="driver to read it with (sunspec)")
    listing = commands.add_parser("drivers", help="list the drivers")
    listing.add_argument("--json", action="store_true", help="as JSON")
    return root


def main(argv: list[str], env: Mapping[str, str]) -> None:
    arguments = parser().parse_args(argv)
    try:
        match arguments.command:
            case "read":
                setup_logging("error")
                asyncio.run(look(arguments))
            case "enroll" | "renew":
                bring_in(arguments, env)
            case "drivers":
                list_drivers(as_json=arguments.json)
            case _:
                settings = read_settings(env)
                setup_logging(settings.log_level)
                asyncio.run(run(settings))
    except (Invalid, Unavailable) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:], os.environ)
