"""Runs the fleet of an assets file until it is told to stop; says on stdout when each device listens."""

import asyncio
import json
import signal
import sys

from edge_agent.fleet.fleet import describe, running_fleet
from edge_agent.fleet.inventory import read_sites
from edge_agent.fleet.settings import Settings, parse
from overwatt.inventory import InventoryError


async def main(settings: Settings) -> None:
    stopped = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    async with running_fleet(
        read_sites(settings.assets),
        host=settings.host,
        base_port=settings.base_port,
        speed=settings.speed,
        start=settings.start,
        cache_dir=settings.cache_dir,
    ) as fleet:
        for asset_id, served in fleet.items():
            asset = served.device.asset
            line = {
                "asset": asset_id,
                "kind": asset.type,
                "host": served.host,
                "port": served.port,
                "follows": describe(asset, settings.start.year),
            }
            print(json.dumps(line, ensure_ascii=False), flush=True)
        print("fleet ready", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    try:
        asyncio.run(main(parse()))
    except (InventoryError, OSError) as error:
        sys.exit(f"Error: {error}")
