"""TLS of the HTTP door: a certificate and key from files, read again when they were renewed."""

import asyncio
import ssl
from pathlib import Path
from typing import Final

from services.runtime.log import get_logger

log = get_logger(__name__)

LOOK_EVERY_S: Final = 60.0


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's context; leaves the process with a sentence when the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SystemExit(
            f"Error: INGEST_HTTP_CERT {certificate} and INGEST_HTTP_KEY {key} cannot be used ({error}). "
            "`python -m services.provisioning authority server` makes such a pair."
        ) from error
    return context


async def keep_certificate_fresh(
    context: ssl.SSLContext, certificate: Path, key: Path, *, period_s: float = LOOK_EVERY_S
) -> None:
    """For handshakes from then on, for ever; a pair that cannot be read is looked at again."""
    loaded = _changed_at(certificate, key)
    while True:
        await asyncio.sleep(period_s)
        if (seen := _changed_at(certificate, key)) == loaded:
            continue
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            log.error("the new certificate cannot be used; the old one stays", error=str(error))
        else:
            loaded = seen
            log.info("the door has a new certificate", file=str(certificate))


def _changed_at(*files: Path) -> list[int]:
    return [file.stat().st_mtime_ns if file.exists() else 0 for file in files]
