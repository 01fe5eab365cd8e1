"""The authority's directory: root.pem, root.key (to be moved away), issuing.pem, issuing.key, chain.pem."""

import os
import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.provisioning.enrolment.authority import (
    Authority,
    Issued,
    make_issuing,
    make_root,
    pem,
    private_pem,
)
from services.runtime.errors import Invalid

KEY_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644


def init(directory: Path, now: datetime) -> bool:
    """Make an authority there, whole or not at all; False when there is one. Raises Invalid."""
    if (directory / "issuing.pem").exists():
        return False
    root, root_key = make_root(now)
    issuing, issuing_key = make_issuing(root, root_key, now)
    directory.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    write(building / "root.key", private_pem(root_key), KEY_MODE)
    write(building / "root.pem", pem(root).encode(), PUBLIC_MODE)
    write(building / "issuing.key", private_pem(issuing_key), KEY_MODE)
    write(building / "chain.pem", (pem(issuing) + pem(root)).encode(), PUBLIC_MODE)
    write(building / "issuing.pem", pem(issuing).encode(), PUBLIC_MODE)
    try:
        building.rename(directory)  # an empty directory may be there already
    except OSError as error:
        shutil.rmtree(building)
        if (directory / "issuing.pem").exists():  # somebody else was faster
            return False
        raise Invalid(
            f"cannot make the authority in {directory} ({error.strerror}); "
            "name a directory that does not exist or is empty, and is no mount point itself"
        ) from error
    return True


def load(directory: Path, *, crl_url: str | None = None) -> Authority:
    """The authority in a directory. Raises Invalid with what is missing; never says what a key file holds."""
    root = _certificate(directory / "root.pem")
    issuing = _certificate(directory / "issuing.pem")
    return Authority(root, issuing, _key(directory / "issuing.key"), crl_url=crl_url)


def write(path: Path, content: bytes, mode: int) -> None:
    """The whole file or the old one, and never for a moment readable to more than `mode`."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        os.chmod(name, mode)
        os.rename(name, path)
    except BaseException:
        os.unlink(name)
        raise


def write_issued(directory: Path, name: str, issued: Issued, authority: Authority) -> None:
    """NAME.key (0600), NAME.pem, and what others are checked against: root.pem, chain.pem (both of ours)."""
    directory.mkdir(parents=True, exist_ok=True)
    write(directory / f"{name}.key", issued.key, KEY_MODE)
    write(directory / f"{name}.pem", issued.certificate, PUBLIC_MODE)
    write(directory / "root.pem", pem(authority.root).encode(), PUBLIC_MODE)
    write(directory / "chain.pem", authority.chain.encode(), PUBLIC_MODE)


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError as error:
        raise Invalid(f"{path} is no PEM certificate; restore it from a backup") from error


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    content = _read(path)
    if path.stat().st_mode & 0o077:
        raise Invalid(f"{path} can be read by others; `chmod 600` it, and think about who has seen it")
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError):
        # Without `from`: the library's message may quote what it could not read.
        raise Invalid(f"{path} is no private key in PEM without a passphrase") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Invalid(f"{path} holds no elliptic-curve key; the authority's keys are EC P-256")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(
            f"cannot read {path} ({error.strerror}); "
            "`python -m services.provisioning authority init --directory DIR` makes an authority"
        ) from error
