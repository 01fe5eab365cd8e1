"""The whole service: its parts, wired, and running until it is stopped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg

from overwatt.inventory import InventoryError, Site
from services.provisioning.app import make_app
from services.provisioning.assets_file import find, read
from services.provisioning.brokers.crl_route import crl_routes
from services.provisioning.brokers.wiring import a_keeper
from services.provisioning.enrolment.wiring import make_enrolment
from services.provisioning.erasure.parts import make_erasure
from services.provisioning.importer import ensure_tenant, import_sites
from services.provisioning.key import key_holder
from services.provisioning.model import Taken
from services.provisioning.publisher import Publisher
from services.provisioning.settings import Settings, admin_key
from services.provisioning.tenant_setup.routes import make_router as make_setups
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
    async with connect_pool(settings.database_url, name=NAME) as pool, a_keeper(settings, pool) as keeper:
        await bring_in(pool, settings.tenant_id, sites, path)
        publisher = Publisher(pool)
        checks = {
            "postgresql": lambda: is_reachable(pool),
            "registry": event_check(publisher.is_current, "publishing the registry"),
        }

        def changed() -> None:
            publisher.wake()
            if keeper:
                keeper.wake()

        holder = key_holder(key)
        erasure, chores = make_erasure(settings, pool, holder=holder, on_change=changed)
        enrolment, doors = make_enrolment(settings, pool, holder=holder, on_change=changed)
        setups = make_setups(pool, holder=holder, app_url=settings.app_url, on_change=changed)
        app = make_app(
            pool,
            holder=holder,
            on_change=changed,
            health=[*health_routes(checks), *crl_routes(settings, pool)],
            routers=[setups, erasure, *enrolment],
        )
        tasks = {
            "door": serve(app, listener),
            "publish": publisher.run(settings.kafka_bootstrap),
            **chores,
            **doors,
        }
        if keeper:
            tasks["keeper"] = keeper.run()
        await run_until_stopped(NAME, settings, tasks, checks=checks)


async def bring_in(pool: Pool, tenant_id: str, sites: Sequence[Site], path: Path | None) -> None:
    """Make our own tenant and import the assets file, or leave with a sentence."""
    try:
        if path is None:
            log.info("ASSETS_PATH is empty: enrolled boxes only")
            await until_available("make the tenant", lambda: ensure_tenant(pool, tenant_id))
        else:
            await until_available(
                "import the assets file", lambda: import_sites(pool, tenant_id, sites, source=path.name)
            )
    except (Taken, InventoryError) as error:
        raise SystemExit(f"Error: assets file {path}: {error}") from error
    except asyncpg.UndefinedTableError as error:
        raise SystemExit(f"Error: the database has no tables yet ({error}). Run `make migrate`.") from error


def start() -> None:
    """Serve with what the environment says."""
    settings = load_settings(Settings)
    key = admin_key(settings)
    path = find(settings.assets_path, cwd=Path.cwd())
    sites = read(path) if path else ()
    run(NAME, settings, lambda: main(settings, key, path, sites))
