"""The identity directory: who this box is, and the files that prove it.

    key.pem          made on this box, for its owner's eyes only (0600); it never leaves the box
    certificate.pem  what the authority says about that key, and what leads from there to the root
    chain.pem        what leads to the root, alone
    root.pem         the one authority that this box believes
    box.json         tenant, box, site, broker, where to renew, how long the certificate lasts
    assets.yaml      what the box speaks for, as far as the cloud knows it

They change together or not at all: new ones gather in a folder, the rename of that folder decides, and
whoever finds it afterwards finishes the move.
"""

import fcntl
import json
import os
import shutil
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from edge_agent.errors import Invalid
from overwatt.topics import is_device, is_tenant

KEY: Final = "key.pem"
CERTIFICATE: Final = "certificate.pem"
CHAIN: Final = "chain.pem"
ROOT: Final = "root.pem"
BOX: Final = "box.json"
ASSETS: Final = "assets.yaml"
_GATHERING: Final = ".gathering"
_DECIDED: Final = ".decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxIdentity:
    """What stands in box.json."""

    directory: Path
    tenant: str
    box: str
    site: str
    site_name: str
    mqtt_host: str
    mqtt_port: int
    enrol_url: str
    serial: str
    issued_at: datetime
    not_after: datetime

    @property
    def assets_path(self) -> Path:
        return self.directory / ASSETS


def state_directory(env: Mapping[str, str]) -> Path:
    """Where this machine keeps what an agent must not lose."""
    home = Path(env.get("XDG_STATE_HOME") or Path(env.get("HOME") or "/var/lib") / ".local" / "state")
    return home / "overwatt"


def identity_directory(env: Mapping[str, str]) -> Path:
    """IDENTITY_DIR, else beside the spools."""
    return Path(env.get("IDENTITY_DIR") or state_directory(env) / "identity")


def load(directory: Path) -> BoxIdentity:
    """Raises Invalid, saying how a box gets an identity."""
    try:
        with _alone(directory):
            document = json.loads((directory / BOX).read_text(encoding="utf-8"))
        return _box_of(directory, document)
    except FileNotFoundError as error:
        raise Invalid(
            f"IDENTITY_DIR {directory} holds no identity; enrol this box with the link that it was given: "
            "python -m edge_agent enroll '<link>' --email <your address>"
        ) from error
    except OSError as error:
        raise Invalid(f"IDENTITY_DIR {directory} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(f"{directory / BOX} is damaged ({error!r}); enrol this box again") from error


def install(directory: Path, files: Mapping[str, bytes]) -> None:
    """All of these files, or none; what else stands there stays. Raises Invalid."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(directory):
            gathering = directory / _GATHERING
            shutil.rmtree(gathering, ignore_errors=True)
            gathering.mkdir(mode=0o700)
            for name, content in files.items():
                write_private(gathering / name, content)
            _sync(gathering)
            gathering.rename(directory / _DECIDED)
            _finish(directory)
    except OSError as error:
        raise Invalid(f"the identity cannot be written to {directory}: {error}") from error


def write_private(path: Path, content: bytes) -> None:
    """A new file that only its owner can read, on the disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def tls_context(directory: Path) -> ssl.SSLContext:
    """Mutual TLS: we are this box, and nobody is believed but our root. Raises Invalid."""
    try:
        with _alone(directory):
            context = ssl.create_default_context(cafile=str(directory / ROOT))
            context.load_cert_chain(directory / CERTIFICATE, directory / KEY)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"the identity in {directory} cannot be used: {error}; enrol this box again") from error
    return context


def box_document(
    answer: Mapping[str, Any], *, serial: str, issued_at: datetime, not_after: datetime
) -> dict[str, object]:
    """box.json from what the door answers. Raises Invalid where it does not make sense."""
    document: dict[str, object] = {
        "tenant": answer.get("tenant"),
        "box": answer.get("box"),
        "site": answer.get("site") or answer.get("box"),
        "site_name": answer.get("site_name") or "",
        "mqtt": answer.get("mqtt"),
        "enrol_url": answer.get("enrol_url"),
        "serial": serial,
        "issued_at": issued_at.isoformat(),
        "not_after": not_after.isoformat(),
    }
    try:
        _box_of(Path(), document)
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(f"the server's answer is not one that a box understands: {error!r}") from error
    return document


def _box_of(directory: Path, document: Mapping[str, Any]) -> BoxIdentity:
    tenant, box, site = (str(document[name]) for name in ("tenant", "box", "site"))
    if not (is_tenant(tenant) and is_device(box) and is_device(site)):
        raise ValueError(f"names are {tenant!r}, {box!r}, {site!r}")
    return BoxIdentity(
        directory=directory,
        tenant=tenant,
        box=box,
        site=site,
        site_name=str(document["site_name"]),
        mqtt_host=str(document["mqtt"]["host"]),
        mqtt_port=int(document["mqtt"]["port"]),
        enrol_url=str(document["enrol_url"]),
        serial=str(document["serial"]),
        issued_at=datetime.fromisoformat(document["issued_at"]).astimezone(UTC),
        not_after=datetime.fromisoformat(document["not_after"]).astimezone(UTC),
    )


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One process at a time; a move that was cut off is finished first."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _finish(directory)
        yield
    finally:
        os.close(descriptor)


def _finish(directory: Path) -> None:
    decided = directory / _DECIDED
    if not decided.is_dir():
        return
    for file in decided.iterdir():
        file.replace(directory / file.name)
    _sync(directory)
    decided.rmdir()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
