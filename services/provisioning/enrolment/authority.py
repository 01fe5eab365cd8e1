"""The certificate authority: a root that can be kept offline, and an issuing authority under it.

A certificate says who somebody is, `<tenant>/<device>`, and nothing about what they may do. Everything is
valid from 48 hours back, for clocks that are late, and no longer than the issuing certificate itself.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from overwatt.topics import DEVICE, TENANT, identity, is_device, is_tenant
from services.runtime.errors import Invalid

ROOT_LIFE: Final = timedelta(days=20 * 365)
ISSUING_LIFE: Final = timedelta(days=10 * 365)
CLIENT_LIFE: Final = timedelta(days=90)
OWN_LIFE: Final = timedelta(days=365)
"""Of our own servers and services, whose certificates are made again at a deployment."""
LATE_CLOCK: Final = timedelta(hours=48)
CRL_LIFE: Final = timedelta(days=7)
MAX_NAME: Final = 64
"""X.520's limit of a common name."""

REASONS: Final = {
    "unspecified": x509.ReasonFlags.unspecified,
    "key_compromise": x509.ReasonFlags.key_compromise,
    "superseded": x509.ReasonFlags.superseded,
    "cessation_of_operation": x509.ReasonFlags.cessation_of_operation,
    "privilege_withdrawn": x509.ReasonFlags.privilege_withdrawn,
}


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key, both PEM. For our own servers and services: a box's key is never here."""

    key: bytes
    certificate: bytes
    """the certificate and the issuing one"""

    def __repr__(self) -> str:
        return "Issued(...)"


@dataclass(frozen=True, slots=True)
class Revoked:
    """An entry of the CRL."""

    serial: str
    """hexadecimal, as in the table"""
    at: datetime
    reason: str


class Authority:
    """Issues certificates and the CRL with the issuing key; the root's key is not needed."""

    def __init__(
        self,
        root: x509.Certificate,
        issuing: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        *,
        crl_url: str | None = None,
    ) -> None:
        """Raises Invalid when the three do not belong together. `crl_url` is named in client certificates."""
        if issuing.public_key() != key.public_key():
            raise Invalid("issuing.key is not the key of issuing.pem; put both of the same authority there")
        try:
            issuing.verify_directly_issued_by(root)
        except Exception as error:
            raise Invalid(
                "issuing.pem was not issued by root.pem; put both of one authority there"
            ) from error
        self.root = root
        self.issuing = issuing
        self._key = key
        self._crl_url = crl_url

    @property
    def chain(self) -> str:
        """Issuing and root certificate, PEM."""
        return pem(self.issuing) + pem(self.root)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root's DER: what a box pins."""
        return self.root.fingerprint(hashes.SHA256()).hex()

    def issue_device(
        self, key: CertificatePublicKeyTypes, tenant: str, device: str, now: datetime
    ) -> x509.Certificate:
        """The certificate of `<tenant>/<device>` for a checked public key. Raises Invalid."""
        if not is_tenant(tenant):
            raise Invalid(f"tenant {tenant!r} must match {TENANT.pattern}")
        if not is_device(device):
            raise Invalid(f"device {device!r} must match {DEVICE.pattern}")
        return self._issue_client(
            key, identity(tenant, device), now, CLIENT_LIFE, urn=f"urn:overwatt:{tenant}:{device}"
        )

    def mint_client(self, name: str, minutes: float, now: datetime) -> Issued:
        """A short-lived certificate in somebody's name, with which the platform takes over their session."""
        return self._mint_client(name, timedelta(minutes=minutes), now)

    def mint_service(self, name: str, now: datetime) -> Issued:
        """The client certificate of a service such as `svc-ingest-0`; a slash is for devices only."""
        if "/" in name:
            raise Invalid(f"service name {name!r} must not hold a slash; that would be a device's identity")
        return self._mint_client(name, OWN_LIFE, now)

    def mint_server(self, dns: Sequence[str], addresses: Sequence[str], now: datetime) -> Issued:
        """A server's certificate for these names and addresses."""
        names = [x509.DNSName(each) for each in dns] + [
            x509.IPAddress(ip_address(each)) for each in addresses
        ]
        if not names:
            raise Invalid("a server's certificate needs at least one DNS name or address")
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._start(key.public_key(), str(names[0].value)[:MAX_NAME], now, OWN_LIFE)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return self._with_chain(key, self._sign(builder, ExtendedKeyUsageOID.SERVER_AUTH))

    def crl(self, revoked: Iterable[Revoked], now: datetime) -> bytes:
        """The list of what is revoked, PEM, good for 7 days.

        EMQX's verifier asks for an issuing distribution point. It names no address, so that the list also
        covers certificates from before CRL_URL was set.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.issuing.subject)
            .last_update(now - timedelta(minutes=5))
            .next_update(min(now + CRL_LIFE, self.issuing.not_valid_after_utc))
            .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
            .add_extension(_authority_key_id(self.issuing), critical=False)
            .add_extension(
                x509.IssuingDistributionPoint(
                    full_name=None,
                    relative_name=None,
                    only_contains_user_certs=True,
                    only_contains_ca_certs=False,
                    only_some_reasons=None,
                    indirect_crl=False,
                    only_contains_attribute_certs=False,
                ),
                critical=True,
            )
        )
        for each in revoked:
            builder = builder.add_revoked_certificate(_entry(each))
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def is_ours(self, certificate: x509.Certificate) -> bool:
        """Whether the issuing authority signed it; says nothing of its time or revocation."""
        try:
            certificate.verify_directly_issued_by(self.issuing)
        except Exception:
            return False
        return True

    def _mint_client(self, name: str, life: timedelta, now: datetime) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        return self._with_chain(key, self._issue_client(key.public_key(), name, now, life))

    def _issue_client(
        self,
        key: CertificatePublicKeyTypes,
        name: str,
        now: datetime,
        life: timedelta,
        urn: str | None = None,
    ) -> x509.Certificate:
        builder = self._start(key, name, now, life)
        if urn:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(urn)])
            builder = builder.add_extension(names, critical=False)
        if self._crl_url:
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(self._crl_url)], None, None, None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        return self._sign(builder, ExtendedKeyUsageOID.CLIENT_AUTH)

    def _start(
        self, key: CertificatePublicKeyTypes, name: str, now: datetime, life: timedelta
    ) -> x509.CertificateBuilder:
        if not 0 < len(name) <= MAX_NAME or not name.isascii() or not name.isprintable():
            raise Invalid(f"common name {name!r} must be 1 to {MAX_NAME} printable ASCII characters")
        if set(name) & set("+#$"):
            raise Invalid(f"common name {name!r} must not hold +, # or $: brokers read them as wildcards")
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self.issuing.subject)
            .public_key(key)
            .serial_number(new_serial())
            .not_valid_before(max(now - LATE_CLOCK, self.issuing.not_valid_before_utc))
            .not_valid_after(min(now + life, self.issuing.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(_authority_key_id(self.issuing), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )

    def _with_chain(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Issued:
        return Issued(private_pem(key), (pem(certificate) + pem(self.issuing)).encode())

    def _sign(self, builder: x509.CertificateBuilder, use: x509.ObjectIdentifier) -> x509.Certificate:
        return builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False).sign(
            self._key, hashes.SHA256()
        )


def make_root(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A new root."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Overwatt root {secrets.token_hex(4)}")
    builder = _authority(name, name, key, now, ROOT_LIFE, path_length=1)
    return builder.sign(key, hashes.SHA256()), key


def make_issuing(
    root: x509.Certificate, root_key: ec.EllipticCurvePrivateKey, now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A new issuing authority under a root."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Overwatt issuing {secrets.token_hex(4)}")
    builder = _authority(name, root.subject, key, now, ISSUING_LIFE, path_length=0).add_extension(
        _authority_key_id(root), critical=False
    )
    return builder.sign(root_key, hashes.SHA256()), key


def new_serial() -> int:
    """128 random bits."""
    return secrets.randbits(128) or 1


def serial_of(certificate: x509.Certificate) -> str:
    """As the table has it."""
    return f"{certificate.serial_number:x}"


def pem(certificate: x509.Certificate) -> str:
    """One PEM block."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS#8, without a passphrase: the file's mode protects it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _authority(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
    *,
    path_length: int,
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(new_serial())
        # Earlier than anything that it signs: a chain with a younger authority is refused.
        .not_valid_before(now - 2 * LATE_CLOCK)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _entry(revoked: Revoked) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder().serial_number(int(revoked.serial, 16)).revocation_date(revoked.at)
    )
    if revoked.reason != "unspecified":  # RFC 5280: leave it out rather than say nothing
        builder = builder.add_extension(x509.CRLReason(REASONS[revoked.reason]), critical=False)
    return builder.build()


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
