"""Keys and certificates of a box: what it asks for, and whether what it gets can be used. Pure.

Apart from `enroll` and `renew` nothing of the agent needs the library that stands behind this.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_agent.errors import Invalid
from overwatt.topics import identity

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Issued:
    """The certificate of this box and what lies between it and the root."""

    certificate: x509.Certificate
    between: tuple[x509.Certificate, ...]

    @property
    def serial(self) -> str:
        return f"{self.certificate.serial_number:x}"

    @property
    def chain(self) -> bytes:
        return b"".join(map(pem, self.between))


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def key_of(private: bytes) -> Key:
    """Raises ValueError for what is no such key."""
    key = serialization.load_pem_private_key(private, password=None)
    if not isinstance(key, Key):
        raise ValueError("not an elliptic curve key")
    return key


def private_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def request_for(key: Key) -> str:
    """A signing request; whose it is, the server decides."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "box")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def root_in(shown: bytes, sha256: str) -> x509.Certificate:
    """The certificate of this fingerprint. Raises Invalid."""
    try:
        certificates = x509.load_pem_x509_certificates(shown)
    except ValueError as error:
        raise Invalid(
            "the server shows no certificates; is the address in the link the right one?"
        ) from error
    for certificate in certificates:
        if certificate.fingerprint(hashes.SHA256()).hex() == sha256:
            return certificate
    raise Invalid(
        "the server's root certificate is not the one that the link names: somebody is in between, or the "
        "link is of another installation. Nothing secret was sent"
    )


def issued_for(key: Key, answer: Mapping[str, Any], root: x509.Certificate) -> Issued:
    """What the door answered, if it leads from our key and our name to our root. Raises Invalid."""
    try:
        certificate = x509.load_pem_x509_certificate(str(answer["certificate"]).encode())
        chain = x509.load_pem_x509_certificates(str(answer["chain"]).encode())
        between = tuple(each for each in chain if each.subject != each.issuer)
        for child, parent in zip((certificate, *between), (*between, root), strict=True):
            child.verify_directly_issued_by(parent)
        (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if name.value != identity(str(answer["tenant"]), str(answer["box"])):
            raise ValueError(f"it is for {name.value!r}")
        if certificate.public_key() != key.public_key():
            raise ValueError("it is for another key")
    except (KeyError, ValueError, TypeError, InvalidSignature) as error:
        raise Invalid(
            f"the certificate that the server made for this box cannot be used: {error!r}"
        ) from error
    return Issued(certificate, between)
