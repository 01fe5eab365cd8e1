"""The assets of one box: a list like an assets file's, made true as the import of a file is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from overwatt.inventory import InventoryError
from services.provisioning import inventory, store
from services.provisioning.boxes import store as boxes
from services.provisioning.model import DECOMMISSIONED, ERASED, Author, Barred, DeviceRow, Holdings, Taken
from services.runtime.errors import Invalid
from services.runtime.postgres import Connection, Pool, transaction

SAVED: Final[tuple[Literal["host", "host_mac"], ...]] = ("host", "host_mac")
"""What a person can save beside the list of assets."""


async def put(
    pool: Pool, tenant_id: str, box_id: str, entries: Sequence[Mapping[str, Any]], author: Author
) -> None:
    """The box has exactly these assets; the same list again changes nothing. Raises Invalid."""
    ids = [str(each.get("id")) for each in entries]
    async with transaction(pool) as db:
        # An import may be about to take the same names.
        await store.take_turn_to_import(db)
        await store.hold_box(db, tenant_id, box_id)
        box = await boxes.read_box(db, tenant_id, box_id)
        if box["source"] == "file":
            raise Barred(f"box {box_id!r} follows the assets file; change its assets there")
        if box["state"] in (DECOMMISSIONED, ERASED):
            raise Barred(f"box {box_id!r} is {box['state']}; give the assets to a box that is in use")
        current = await store.read_box_devices(db, tenant_id, box_id, ids)
        # Who names it again takes back that it was put out of use.
        current = {name: replace(each, stays_out=False) for name, each in current.items()}
        try:
            target = inventory.box_devices(current[box_id], entries)
        except InventoryError as error:
            raise Invalid(str(error)) from error
        _refuse_others(current, target, box_id)
        made = inventory.changes(Holdings({}, {}, current), Holdings({}, {}, target))
        for device in (*made.added, *made.changed):
            await store.write_device(db, tenant_id, device)
        await store.retire(db, tenant_id, made.retired_devices, ())
        for name in SAVED:
            await boxes.forget_saved(
                db, tenant_id, [str(each["id"]) for each in entries if each.get(name)], name
            )
        if made:
            await store.audit(db, author, "box.assets", ("box", box_id), made.summary(), tenant_id=tenant_id)


async def read(db: Connection, tenant_id: str, box_id: str) -> list[dict[str, object]]:
    """The assets in use, each as in an assets file, where a person saved that it is."""
    devices = await store.read_box_devices(db, tenant_id, box_id)
    saved = await boxes.read_saved(db, tenant_id, box_id)
    return [
        {**inventory.entry(each), **saved.get(each.device_id, {})}
        for each in devices.values()
        if each.asset and each.state not in (DECOMMISSIONED, ERASED)
    ]


def _refuse_others(current: Mapping[str, DeviceRow], target: Mapping[str, DeviceRow], box_id: str) -> None:
    for device_id in target:
        known = current.get(device_id)
        if known and known.box_id != box_id:
            raise Taken(f"device {device_id!r} exists and is not of box {box_id!r}; choose another id")
        if known and known.state == ERASED:
            raise Taken(f"device {device_id!r} was erased and its id is not used again; choose another id")
