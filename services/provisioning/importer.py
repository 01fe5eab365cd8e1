"""The import of the assets file: read what is, decide, write the difference and its audit row at once."""

from collections.abc import Sequence

from overwatt.inventory import Site
from services.provisioning import inventory, metrics, store
from services.provisioning.model import Author, Changes
from services.runtime.log import get_logger
from services.runtime.postgres import Pool, transaction

log = get_logger(__name__)

AUTHOR = Author(actor="provisioning")


async def ensure_tenant(pool: Pool, tenant_id: str) -> None:
    """The tenant that a program on this machine is, exists. Raises Unavailable."""
    async with transaction(pool) as db:
        await store.ensure_tenant(db, tenant_id)


async def import_sites(pool: Pool, tenant_id: str, sites: Sequence[Site], *, source: str) -> Changes:
    """Make the registry say what the file says; repeating it changes nothing. Raises Taken, Unavailable."""
    async with transaction(pool) as db:
        await store.take_turn_to_import(db)
        await store.ensure_tenant(db, tenant_id)
        target = inventory.wanted(sites, await store.read_given_names(db, tenant_id))
        await store.refuse_made_by_hand(db, tenant_id, list(target.devices))
        current = await store.read_holdings(db, tenant_id, list(target.devices))
        changes = inventory.changes(current, target)
        for site_id, name in changes.sites.items():
            await store.write_site(db, tenant_id, site_id, name)
        for box_id in changes.boxes:
            await store.write_box(db, tenant_id, box_id)
        for device in (*changes.added, *changes.changed):
            await store.write_device(db, tenant_id, device)
        await store.retire(db, tenant_id, changes.retired_devices, changes.retired_boxes)
        if changes:
            detail = {"file": source, **changes.summary()}
            await store.audit(
                db, AUTHOR, "inventory.import", ("tenant", tenant_id), detail, tenant_id=tenant_id
            )
    counts = {kind: len(ids) for kind, ids in changes.summary().items()}
    for kind, count in counts.items():
        metrics.IMPORTED.labels(kind).inc(count)
    log.info("assets file imported", file=source, tenant=tenant_id, assets=len(target.devices), **counts)
    return changes
