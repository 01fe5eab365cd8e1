"""Mosquitto on this machine: three files that it reads again on SIGHUP, and takeovers.

Tried with 2.0: `topic deny #` counts for a live session from the reload on; a changed password_file ends
sessions whose password is gone; a CRL keeps out new connections only, and one that has expired keeps out
everybody. So it is signed again every day and is good for seven.
"""

import asyncio
import os
import signal
import tempfile
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from services.provisioning.brokers.render import mosquitto_acl, mosquitto_passwords
from services.provisioning.brokers.takeover import take_over
from services.provisioning.brokers.wanted import Wanted
from services.provisioning.enrolment.authority import Authority
from services.runtime.errors import Unavailable
from services.runtime.log import get_logger

log = get_logger(__name__)

CRL_AGE: Final = timedelta(days=1)
TAKEOVER_MINUTES: Final = 5


class Process(NamedTuple):
    """The same pid at another time is another process."""

    pid: int
    started_ticks: int


class Mosquitto:
    """The broker whose configuration lies in `directory`: acl, passwords, crl.pem, mosquitto.pid."""

    wants_credentials = True

    def __init__(
        self, directory: Path, authority: Authority, *, host: str, port: int, development: bool
    ) -> None:
        self._directory = directory
        self._authority = authority
        self._host, self._port = host, port
        self._development = development
        self._kept: Wanted | None = None
        self._signed_at: datetime | None = None
        self._told: Process | None = None

    async def keep(self, wanted: Wanted, now: datetime) -> None:
        """Write what is new and have it read; a broker that has started since is told again."""
        process = running(self._directory / "mosquitto.pid")
        is_old = self._signed_at is None or now - self._signed_at > CRL_AGE
        if wanted == self._kept and process == self._told and not is_old:
            return
        files = {
            "acl": mosquitto_acl(wanted.denied, development=self._development).encode(),
            "passwords": mosquitto_passwords(wanted.passwords).encode(),
            "crl.pem": self._authority.crl(wanted.revoked, now),
        }
        try:
            for name, content in files.items():
                replace(self._directory / name, content)
        except OSError as error:
            raise Unavailable(f"cannot write {error.filename}: {error.strerror}") from error
        if process:
            os.kill(process.pid, signal.SIGHUP)
        self._kept, self._signed_at, self._told = wanted, now, process
        log.info(
            "broker told",
            denied=len(wanted.denied),
            passwords=len(wanted.passwords),
            revoked=len(wanted.revoked),
            reloaded=process is not None,
        )

    async def cut(self, identity: str, now: datetime) -> None:
        """Take the session over with a certificate of a few minutes, and leave without keeping it."""
        issued = self._authority.mint_client(identity, TAKEOVER_MINUTES, now)
        await asyncio.to_thread(take_over, self._host, self._port, identity, issued, self._authority.chain)


def running(pid_file: Path) -> Process | None:
    """The Mosquitto of this file, once it handles SIGHUP: before that, and for others, it is the end."""
    with suppress(OSError, ValueError, StopIteration):
        pid = int(pid_file.read_text())
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        caught = next(line.split()[1] for line in status if line.startswith("SigCgt:"))
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        if name.endswith("(mosquitto") and int(caught, 16) >> (signal.SIGHUP - 1) & 1:
            return Process(pid, int(rest.split()[19]))
    return None


def replace(path: Path, content: bytes) -> None:
    """The whole file or the old one, for the directory's owner alone: Mosquitto may be another user."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            owner = path.parent.stat()
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.flush()
            os.fsync(file.fileno())
        os.rename(name, path)
    except BaseException:
        os.unlink(name)
        raise
