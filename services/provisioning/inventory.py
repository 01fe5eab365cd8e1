"""From the assets file to what has to change in the registry.

A site of the file is a site, a box of the same id (active, `battery` opted in, when it is made) and a device
of type agent that may speak for the site's assets; an asset is a device with what it can do. A box says
whether it came from a file; whatever hangs on such a box and left the file is decommissioned, and may come
back with it. Mode, opt-ins, a new name of a site, and the other states belong to people: an import never
changes them, nor brings back what a person decommissioned.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from overwatt.inventory import Asset, InventoryError, Site, parse_inventory
from services.provisioning.model import (
    ACTIVE,
    AGENT,
    DECOMMISSIONED,
    ERASED,
    AssetRow,
    Changes,
    DeviceRow,
    Holdings,
)

NO_NAMES: Final[Mapping[str, str]] = {}


def wanted(sites: Sequence[Site], given_names: Mapping[str, str] = NO_NAMES) -> Holdings:
    """What a tenant holds by its file; a site that a person renamed keeps that name."""
    names = {site.id: given_names.get(site.id, site.name) for site in sites}
    devices = [replace(device, site_name=names[site.id]) for site in sites for device in _devices(site)]
    return Holdings(
        sites=names,
        boxes={site.id: ACTIVE for site in sites},
        devices={device.device_id: device for device in devices},
    )


def box_devices(agent: DeviceRow, entries: Sequence[object]) -> dict[str, DeviceRow]:
    """A box's agent and assets as wanted, from a list of assets like an assets file's."""
    assert agent.box_id is not None
    try:
        (site,) = parse_inventory({"sites": [{"id": agent.box_id, "assets": list(entries)}]})
    except InventoryError as error:
        raise InventoryError(str(error).replace("sites[0].", "")) from error
    assets = [
        replace(_device(asset), site_id=agent.site_id, site_name=agent.site_name) for asset in site.assets
    ]
    ids = tuple(asset.device_id for asset in assets)
    return {each.device_id: each for each in (replace(agent, state=ACTIVE, assets=ids), *assets)}


def entry(device: DeviceRow) -> dict[str, object]:
    """An asset in the words of the assets file."""
    asset = device.asset
    assert asset is not None
    known = {
        "id": device.device_id,
        "name": device.name,
        "type": device.type,
        "location": asset.location,
        "capacity_mwhr": asset.capacity_mwh,
        "max_mw": asset.max_mw,
        "min_mw": asset.min_mw,
        "efficiency": asset.efficiency,
        "ramp_rate_mw_per_min": asset.ramp_rate_mw_per_min,
        **asset.details,
    }
    return {key: value for key, value in known.items() if value is not None}


def changes(current: Holdings, target: Holdings) -> Changes:
    """The difference. `current` holds all that came from a file, and what bears a name of the target."""
    differing = [
        device
        for device in target.devices.values()
        if (known := current.devices.get(device.device_id)) is None or _differs(known, device)
    ]
    return Changes(
        sites={site: name for site, name in target.sites.items() if current.sites.get(site) != name},
        boxes=tuple(box for box in target.boxes if current.boxes.get(box, DECOMMISSIONED) == DECOMMISSIONED),
        added=tuple(device for device in differing if device.device_id not in current.devices),
        changed=tuple(device for device in differing if device.device_id in current.devices),
        retired_devices=tuple(
            device.device_id
            for device in current.devices.values()
            if device.device_id not in target.devices and device.state not in (DECOMMISSIONED, ERASED)
        ),
        retired_boxes=tuple(
            box
            for box, state in current.boxes.items()
            if box not in target.boxes and state not in (DECOMMISSIONED, ERASED)
        ),
    )


def _differs(known: DeviceRow, device: DeviceRow) -> bool:
    if known.state == ERASED or known.stays_out:
        return False
    return replace(known, state=ACTIVE) != device or known.state == DECOMMISSIONED


def _devices(site: Site) -> list[DeviceRow]:
    agent = DeviceRow(
        device_id=site.id,
        site_id=site.id,
        site_name=site.name,
        box_id=site.id,
        type=AGENT,
        name=site.name,
        assets=tuple(asset.id for asset in site.assets),
    )
    return [agent, *(_device(asset) for asset in site.assets)]


def _device(asset: Asset) -> DeviceRow:
    return DeviceRow(
        device_id=asset.id,
        site_id=asset.site_id,
        site_name=asset.site_name,
        box_id=asset.site_id,
        type=asset.type,
        name=asset.name,
        asset=AssetRow(
            capacity_mwh=asset.capacity_mwh,
            max_mw=asset.max_mw,
            min_mw=asset.min_mw,
            efficiency=asset.efficiency,
            ramp_rate_mw_per_min=asset.ramp_rate_mw_per_min,
            location=asset.location,
            details=_details(asset),
        ),
    )


def _details(asset: Asset) -> Mapping[str, object]:
    """As the database will give them back: a YAML date becomes text."""
    try:
        text = json.dumps({"driver": asset.driver, **asset.extra}, default=str, allow_nan=False)
    except ValueError as error:
        raise InventoryError(f"asset {asset.id!r} has a key with NaN or infinity; give a number") from error
    details: Mapping[str, object] = json.loads(text)
    return details
