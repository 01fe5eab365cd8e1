"""Certificate requests: what is taken, and what every kind of bad one is told."""

import base64
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID

from services.provisioning.enrolment.requests import BadRequest, key_of, spki_sha256

P256 = ec.generate_private_key(ec.SECP256R1())


def a_request(
    key: CertificateIssuerPrivateKeyTypes = P256,
    *extensions: x509.ExtensionType,
    name: str = "",
    digest: hashes.HashAlgorithm | None = hashes.SHA256(),
) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    is_edwards = isinstance(key, ed25519.Ed25519PrivateKey)
    signed = builder.sign(key, None if is_edwards else digest)  # type: ignore[arg-type]
    return signed.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    "key",
    [
        P256,
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-256", "P-384", "Ed25519", "RSA 2048"],
)
def test_strong_keys_are_taken(key: CertificateIssuerPrivateKeyTypes) -> None:
    assert spki_sha256(key_of(a_request(key))) == spki_sha256(key.public_key())


@pytest.mark.parametrize("name", ["", "admin", "tenant-b/other-box", "#", "a" * 64])
def test_the_subject_of_a_request_is_not_looked_at(name: str) -> None:
    assert key_of(a_request(name=name)) == P256.public_key()


WEAK: dict[str, Callable[[], str]] = {
    "RSA with 1024 bits": lambda: a_request(rsa.generate_private_key(65537, 1024)),
    "curve secp256k1": lambda: a_request(ec.generate_private_key(ec.SECP256K1())),
    "curve secp521r1": lambda: a_request(ec.generate_private_key(ec.SECP521R1())),
    "curve secp224r1": lambda: a_request(ec.generate_private_key(ec.SECP224R1())),
}


@pytest.mark.parametrize("said", WEAK)
def test_a_weak_or_odd_key_is_refused_by_name(said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        key_of(WEAK[said]())


@pytest.mark.parametrize(
    "extension",
    [
        x509.BasicConstraints(ca=True, path_length=None),
        x509.BasicConstraints(ca=False, path_length=None),
        x509.SubjectAlternativeName([x509.DNSName("example.com")]),
        x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")]),
    ],
    ids=["CA", "not CA", "names", "server"],
)
def test_a_request_asks_for_nothing(extension: x509.ExtensionType) -> None:
    with pytest.raises(BadRequest, match="asks for extensions"):
        key_of(a_request(P256, extension))


def test_a_request_must_prove_that_it_holds_the_key() -> None:
    der = bytearray(base64.b64decode("".join(a_request().splitlines()[1:-1])))
    der[-1] ^= 1
    body = base64.encodebytes(bytes(der)).decode()

    with pytest.raises(BadRequest, match="its signature is wrong"):
        key_of(f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        a_request()[:200],
        a_request()[:200] + "\n-----END CERTIFICATE REQUEST-----\n",
        a_request() * 2,
        a_request().replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        "-----BEGIN CERTIFICATE REQUEST-----\n\n-----END CERTIFICATE REQUEST-----\n",
        "\x00" * 100,
        "а" * 100,
        a_request() + "x" * 17_000,
        P256.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    ],
    ids=range(11),
)
def test_what_is_no_request_is_refused_with_a_sentence_that_does_not_quote_it(text: str) -> None:
    with pytest.raises(BadRequest, match=r"csr (must|cannot|has)") as refused:
        key_of(text)
    assert len(str(refused.value)) < 120
