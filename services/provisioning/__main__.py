"""`python -m services.provisioning`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg

from overwatt.inventory import InventoryError, Site
from services.provisioning.app import make_app
from services.provisioning.assets_file import find, read
from services.provisioning.importer import import_sites
from services.provisioning.model import Taken
from services.provisioning.publisher import Publisher
from services.provisioning.settings import Settings, admin_key
from services.runtime.http import bind, serve
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, connect_pool, is_reachable
from services.runtime.retry import until_available
from services.runtime.service import event_check, health_routes, run, run_until_stopped
from services.runtime.settings import load_settings

log = get_logger("services.provisioning")

NAME: Final = "provisioning"


async def main(settings: Settings, key: str, path: Path | None, sites: Sequence[Site]) -> None:
    """Wire the parts and run them."""
    listener = bind(settings.provisioning_host, settings.provisioning_port, variable="PROVISIONING_PORT")
    async with connect_pool(settings.database_url, name=NAME) as pool:
        if path is None:
            log.info("ASSETS_PATH is empty: enrolled boxes only")
        else:
            await bring_in(pool, settings.tenant_id, sites, path)
        publisher = Publisher(pool)
        checks = {
            "postgresql": lambda: is_reachable(pool),
            "registry": event_check(publisher.is_current, "publishing the registry"),
        }
        app = make_app(pool, admin_key=key, on_change=publisher.wake, health=health_routes(checks))
        await run_until_stopped(
            NAME,
            settings,
            {"door": serve(app, listener), "publish": publisher.run(settings.kafka_bootstrap)},
            checks=checks,
        )


async def bring_in(pool: Pool, tenant_id: str, sites: Sequence[Site], path: Path) -> None:
    """Import the assets file, or leave with a sentence."""
    try:
        await until_available(
            "import the assets file", lambda: import_sites(pool, tenant_id, sites, source=path.name)
        )
    except (Taken, InventoryError) as error:
        raise SystemExit(f"Error: assets file {path}: {error}") from error
    except asyncpg.UndefinedTableError as error:
        raise SystemExit(f"Error: the database has no tables yet ({error}). Run `make migrate`.") from error


if __name__ == "__main__":
    settings = load_settings(Settings)
    key = admin_key(settings)
    path = find(settings.assets_path, cwd=Path.cwd())
    sites = read(path) if path else ()
    run(NAME, settings, lambda: main(settings, key, path, sites))
