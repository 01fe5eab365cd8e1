"""Certificates for tests that no authority of ours would issue: of any name, any time, any issuer."""

import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.provisioning.enrolment import authority_files
from services.provisioning.enrolment.authority import Issued, make_issuing, make_root


class Issuer:
    """An issuing authority with its key, which signs what it is given."""

    def __init__(
        self, issuing: x509.Certificate, key: ec.EllipticCurvePrivateKey, crl_url: str | None = None
    ) -> None:
        self._issuing = issuing
        self._key = key
        self._crl_url = crl_url

    @classmethod
    def ours(cls, directory: Path, crl_url: str | None = None) -> "Issuer":
        """The platform's own; EMQX refuses a certificate that does not say where the CRL is."""
        key = load_pem_private_key((directory / "issuing.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(authority_files.load(directory).issuing, key, crl_url)

    @classmethod
    def foreign(cls) -> "Issuer":
        """Somebody else's, made now."""
        now = datetime.now(UTC)
        return cls(*make_issuing(*make_root(now), now))

    def sign(
        self, name: str, *, begins: timedelta = timedelta(hours=-1), ends: timedelta = timedelta(hours=1)
    ) -> Issued:
        """A client certificate of that common name."""
        now = datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._issuing.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )
        if self._crl_url:
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(self._crl_url)], None, None, None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        encoding = serialization.Encoding.PEM
        private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        chain = certificate.public_bytes(encoding) + self._issuing.public_bytes(encoding)
        return Issued(private, chain)


def serial_of(issued: Issued) -> str:
    """As the table `certificate` has it."""
    return f"{x509.load_pem_x509_certificate(issued.certificate).serial_number:x}"


def context(root: Path, issued: Issued | None) -> ssl.SSLContext:
    """A client's TLS settings: verified server, and its own certificate if it has one."""
    made = ssl.create_default_context(cafile=str(root))
    if issued:
        with tempfile.NamedTemporaryFile() as both:
            both.write(issued.key + issued.certificate)
            both.flush()
            made.load_cert_chain(both.name)
    return made
