"""What a running platform has to know of the senders: their registration, and certificates for TLS."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from scripts.load.shapes import Shape
from scripts.local.problem import Problem
from services.provisioning.enrolment.authority_files import load

CERTIFICATE_MINUTES: Final = 24 * 60.0
EXISTS: Final = 409
TOLD_EVERY: Final = 100


def senders_of(shape: Shape, tenant: str, count: int, devices: int) -> dict[str, list[str]]:
    """Agents of so many devices each, or simple devices."""
    if not shape.is_agent:
        return {f"simple-{n}": [f"simple-{n}"] for n in range(count)}
    names = [f"{tenant[:16]}-{n}" for n in range(count)]  # a box's name is its own on the whole platform
    return {name: [f"{name}-{d}" for d in range(devices)] for name in names}


def register(
    url: str,
    key: str,
    tenant: str,
    shape: Shape,
    senders: Mapping[str, list[str]],
    say: Callable[[str], None],
) -> None:
    """Over provisioning's API; who is there already stays. Raises Problem."""
    call = _Caller(f"{url}/api/admin", key)
    call("POST", "/tenants", {"tenant_id": tenant, "name": tenant})
    for number, (name, devices) in enumerate(senders.items()):
        if number % TOLD_EVERY == 0:
            say(f"  registered {number} of {len(senders)} senders")
        if not shape.is_agent:
            call("POST", "/devices", {"tenant_id": tenant, "device_id": name})
        elif call("POST", "/boxes", {"tenant_id": tenant, "box_id": name, "site_name": name}):
            assets = [{"id": device, "type": "meter"} for device in devices]
            call("PUT", f"/boxes/{tenant}/{name}/assets", {"assets": assets})


def certificates(authority: Path, tenant: str, name: str, into: Path) -> tuple[Path, Path]:
    """A day's certificate and key of a sender, as files; the root's key is not needed."""
    issued = load(authority).mint_client(f"{tenant}/{name}", CERTIFICATE_MINUTES, datetime.now(UTC))
    certificate, key = into / f"{name}.pem", into / f"{name}.key"
    certificate.write_bytes(issued.certificate)
    key.touch(mode=0o600)
    key.write_bytes(issued.key)
    return certificate, key


class _Caller:
    def __init__(self, base: str, key: str) -> None:
        self._base = base
        self._headers = {"Content-Type": "application/json", "X-Admin-Key": key}

    def __call__(self, method: str, path: str, body: Mapping[str, Any]) -> bool:
        """Whether it is new."""
        url = self._base + path
        request = urllib.request.Request(url, json.dumps(body).encode(), self._headers, method=method)
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            if error.code == EXISTS:
                return False
            raise Problem(
                f"{method} {url} answered {error.code}: {error.read(300).decode(errors='replace')}"
            ) from error
        except OSError as error:
            raise Problem(f"{url} does not answer ({error}): is it running? `make start`") from error
        return True
