"""`make device TENANT= DEVICE=`: register a device, and its tenant, with the provisioning service."""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Final

EXISTS: Final = 409


class Refused(Exception):
    """What the service said."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Register both, and say which were there already."""
    parser = argparse.ArgumentParser(
        prog="make device TENANT=tenant-a DEVICE=sensor-001", description=__doc__
    )
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--device", required=True)
    options = parser.parse_args(arguments)
    if not options.tenant or not options.device:
        print(
            "Error: TENANT and DEVICE are both needed: make device TENANT=tenant-a DEVICE=sensor-001",
            file=sys.stderr,
        )
        return 1
    port = os.environ.get("PROVISIONING_PORT") or str(8081 + int(os.environ.get("PORT_OFFSET") or 0))
    address = os.environ.get("PROVISIONING_URL") or f"http://127.0.0.1:{port}"
    key = os.environ.get("PROVISION_ADMIN_KEY") or "change-me-now"
    tenant = {"tenant_id": options.tenant, "name": options.tenant}
    device = {"tenant_id": options.tenant, "device_id": options.device}
    try:
        print(f"tenant {options.tenant}: {post(f'{address}/api/admin/tenants', tenant, key)}")
        print(
            f"device {options.tenant}/{options.device}: {post(f'{address}/api/admin/devices', device, key)}"
        )
    except Refused as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def post(url: str, body: Mapping[str, str], admin_key: str) -> str:
    """`registered` or `there already`; raises Refused."""
    request = urllib.request.Request(
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "X-Admin-Key": admin_key},
    )
    try:
        with urllib.request.urlopen(request, timeout=10):
            return "registered"
    except urllib.error.HTTPError as error:
        if error.code == EXISTS:
            return "there already"
        said = error.read(500).decode(errors="replace")
        raise Refused(f"{url} answered {error.code}: {said}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise Refused(f"{url} does not answer ({reason}): is it running? `make start`") from error


if __name__ == "__main__":
    sys.exit(main())
