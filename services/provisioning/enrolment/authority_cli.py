"""`python -m services.provisioning authority ...`: make the authority, and certificates for our own servers.

init         root and issuing authority; then move root.key to a safe place, nothing here needs it
server       key and certificate of a server, such as the broker
service      key and certificate of a service as the broker's client, such as svc-ingest-0
fingerprint  SHA-256 of the root certificate: what a box pins
crl          sign a revocation list again for 7 days (what the file holds; an empty one if there is none)
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from services.provisioning.enrolment import authority_files as files
from services.provisioning.enrolment.authority import Authority, Revoked
from services.runtime import clock
from services.runtime.errors import Invalid


def main(arguments: Sequence[str]) -> None:
    """Do it, or exit with a sentence."""
    given = read_arguments(arguments)
    try:
        print(_run(given))
    except (Invalid, OSError) as error:
        raise SystemExit(f"Error: {error}") from error


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m services.provisioning authority",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--directory", type=Path, required=True, help="where the authority is")
    making = argparse.ArgumentParser(add_help=False)
    making.add_argument("--out", type=Path, required=True, help="directory for NAME.key, NAME.pem, root.pem")
    making.add_argument("--name", required=True, help="name of the files; of a service also its common name")
    commands.add_parser("init", parents=[everywhere])
    server = commands.add_parser("server", parents=[everywhere, making])
    server.add_argument("--dns", action="append", default=[], help="a name it is called by (repeatable)")
    server.add_argument("--ip", action="append", default=[], help="an address it has (repeatable)")
    service = commands.add_parser("service", parents=[everywhere, making])
    service.add_argument("--crl-url", help="where the revocation list is to be had (EMQX asks there)")
    commands.add_parser("fingerprint", parents=[everywhere])
    crl = commands.add_parser("crl", parents=[everywhere])
    crl.add_argument("--out", type=Path, required=True, help="the file")
    return parser.parse_args(arguments)


def _run(given: argparse.Namespace) -> str:
    now = clock.now()
    if given.command == "init":
        made = files.init(given.directory, now)
        authority = files.load(given.directory)
        state = "made; move root.key away" if made else "was there already"
        return f"authority in {given.directory} {state}; root SHA-256 {authority.fingerprint}"
    authority = files.load(given.directory, crl_url=getattr(given, "crl_url", None))
    if given.command == "fingerprint":
        return authority.fingerprint
    if given.command == "crl":
        revoked = _listed(given.out, authority)
        files.write(given.out, authority.crl(revoked, now), files.PUBLIC_MODE)
        return f"{given.out}: {len(revoked)} revoked"
    if Path(given.name).name != given.name:
        raise Invalid(f"--name {given.name!r} must be a plain file name")
    if given.command == "server":
        issued = authority.mint_server(given.dns, given.ip, now)
    else:
        issued = authority.mint_service(given.name, now)
    files.write_issued(given.out, given.name, issued, authority)
    return f"{given.out / given.name}.key, {given.out / given.name}.pem"


def _listed(path: Path, authority: Authority) -> list[Revoked]:
    """What a list of this authority names; a list of another one is refused, not lost."""
    if not path.exists():
        return []
    try:
        old = x509.load_pem_x509_crl(path.read_bytes())
    except ValueError as error:
        raise Invalid(f"{path} is no revocation list in PEM; remove it or name another file") from error
    if old.issuer != authority.issuing.subject:
        raise Invalid(f"{path} is the list of another authority; remove it or name another file")
    return [_revoked(entry) for entry in old]


def _revoked(entry: x509.RevokedCertificate) -> Revoked:
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.name
    except x509.ExtensionNotFound:
        reason = "unspecified"
    return Revoked(f"{entry.serial_number:x}", entry.revocation_date_utc, reason)
