"""From the assets file to what has to change in the registry.

A site of the file is a site, a box of the same id (active, `battery` opted in, when it is made) and a device
of type agent that may speak for the site's assets; an asset is a device with what it can do. A box whose id
is its site's came from a file, so whatever hangs on it and left the file is decommissioned. Mode, opt-ins
and the states `disabled` and `erased` belong to people: an import never changes them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from overwatt.inventory import Asset, InventoryError, Site
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


def wanted(sites: Sequence[Site]) -> Holdings:
    """What a tenant holds by its file."""
    devices = [device for site in sites for device in _devices(site)]
    return Holdings(
        sites={site.id: site.name for site in sites},
        boxes={site.id: ACTIVE for site in sites},
        devices={device.device_id: device for device in devices},
    )


def changes(current: Holdings, target: Holdings) -> Changes:
    """The difference. `current` holds all that came from a file, and what bears a name of the target."""
    differing = [
        device
        for device in target.devices.values()
        if (known := current.devices.get(device.device_id)) is None or _differs(known, device)
    ]
    return Changes(
        sites={site: name for site, name in target.sites.items() if current.sites.get(site) != name},
        boxes=tuple(box for box in target.boxes if current.boxes.get(box) != ACTIVE),
        added=tuple(device for device in differing if device.device_id not in current.devices),
        changed=tuple(device for device in differing if device.device_id in current.devices),
        retired_devices=tuple(
            device.device_id
            for device in current.devices.values()
            if device.device_id not in target.devices and device.state not in (DECOMMISSIONED, ERASED)
        ),
        retired_boxes=tuple(
            box for box, state in current.boxes.items() if box not in target.boxes and state != DECOMMISSIONED
        ),
    )


def _differs(known: DeviceRow, device: DeviceRow) -> bool:
    if known.state == ERASED:
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
