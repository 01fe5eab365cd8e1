"""The certificate authority of this machine, and certificates for the broker, the gateway and HTTP ingest.

Made when they are missing, and the certificates again when half of their year is over. The authority goes
with the data: boxes that an earlier database knew have to enrol again.
"""

import time
from pathlib import Path
from typing import Final

from scripts.local.ports import HOST
from scripts.local.program import run_module

BROKER: Final = "mosquitto"
HTTP: Final = "ingest-http"
GATEWAYS: Final = ("svc-ingest-0", "svc-ingest-1")
"""Each has the other one's too, to serve its session while it is away."""
RENEW_AFTER_S: Final = 180 * 86_400
SIGN_AFTER_S: Final = 86_400


def authority(home: Path) -> Path:
    """root.pem, root.key, issuing.pem, issuing.key, chain.pem."""
    return home / "authority"


def directory(home: Path) -> Path:
    """root.pem, chain.pem, and .pem and .key of the broker, the gateways and HTTP ingest."""
    return home / "mosquitto"


def prepare(home: Path) -> None:
    """Make what is missing or old."""
    ours, own = authority(home), directory(home)
    if not (ours / "issuing.pem").exists():
        _run("init", ours)
    made_after = max(time.time() - RENEW_AFTER_S, (ours / "issuing.pem").stat().st_mtime)
    for server in (BROKER, HTTP):
        if not _is_newer(own / f"{server}.pem", made_after):
            names = ("--dns", "localhost", "--ip", HOST)
            _run("server", ours, "--out", str(own), "--name", server, *names)
    for gateway in GATEWAYS:
        if not _is_newer(own / f"{gateway}.pem", made_after):
            _run("service", ours, "--out", str(own), "--name", gateway)


def sign_crl(home: Path, crl: Path) -> None:
    """What it lists is kept and signed anew: with a list that has expired the broker refuses everybody."""
    if not _is_newer(crl, time.time() - SIGN_AFTER_S):
        _run("crl", authority(home), "--out", str(crl))


def _is_newer(path: Path, than: float) -> bool:
    return path.exists() and path.stat().st_mtime >= than


def _run(command: str, ours: Path, *arguments: str) -> None:
    run_module("services.provisioning", "authority", command, "--directory", str(ours), *arguments)
