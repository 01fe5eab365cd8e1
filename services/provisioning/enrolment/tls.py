"""TLS of the boxes' door: our own certificate, and clients' certificates of our own authority, if any.

An expired or foreign client certificate ends the handshake. Whether one is revoked is asked of the database,
which knows at once.
"""

import asyncio
import ssl
import tempfile
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509

from services.provisioning.enrolment import authority_files, metrics
from services.provisioning.enrolment.authority import Authority
from services.runtime import clock
from services.runtime.log import get_logger

log = get_logger(__name__)

FRESH_CERTIFICATE_S: Final = 24 * 3600.0


def server_context(authority: Authority, names: Sequence[str]) -> ssl.SSLContext:
    """A server's context with a certificate for these names and addresses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=authority.chain)
    # A resumed session would not look at the client's certificate again.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    install_certificate(context, authority, names)
    return context


def install_certificate(context: ssl.SSLContext, authority: Authority, names: Sequence[str]) -> None:
    """A new key and certificate, for handshakes from now on."""
    dns = [name for name in names if not _is_address(name)]
    issued = authority.mint_server(dns, [name for name in names if _is_address(name)], clock.now())
    # load_cert_chain takes files only.
    with tempfile.TemporaryDirectory(prefix="overwatt-door-") as directory:
        key, certificate = Path(directory, "door.key"), Path(directory, "door.pem")
        authority_files.write(key, issued.key, authority_files.KEY_MODE)
        authority_files.write(certificate, issued.certificate, authority_files.PUBLIC_MODE)
        context.load_cert_chain(certificate, key)
    ends_at = x509.load_pem_x509_certificate(issued.certificate).not_valid_after_utc
    metrics.DOOR_CERTIFICATE.set(ends_at.timestamp())


async def keep_certificate_fresh(
    context: ssl.SSLContext,
    authority: Authority,
    names: Sequence[str],
    *,
    period_s: float = FRESH_CERTIFICATE_S,
) -> None:
    """A new certificate every day, for ever."""
    while True:
        await asyncio.sleep(period_s)
        install_certificate(context, authority, names)
        log.info("the door has a new certificate", names=list(names))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
