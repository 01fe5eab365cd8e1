"""Certificate requests: only the key in them counts. Subjects are ignored, extensions are refused."""

import hashlib
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from services.runtime.errors import Invalid

MAX_CHARACTERS: Final = 16_384
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 4096
"""Larger ones cost the server more than they give the box."""
_BEGIN: Final = "-----BEGIN "


class BadRequest(Invalid):
    """No certificate for this request; the message says what would be right."""


def key_of(text: str) -> CertificatePublicKeyTypes:
    """The public key of a PEM request that proves to hold the private one. Raises BadRequest."""
    if len(text) > MAX_CHARACTERS:
        raise BadRequest(f"csr has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    if text.count(_BEGIN) != 1:
        raise BadRequest("csr must be exactly one PEM block, -----BEGIN CERTIFICATE REQUEST-----")
    try:
        request = x509.load_pem_x509_csr(text.encode())
        key = request.public_key()
        has_extensions = len(request.extensions) > 0
        is_signed = request.is_signature_valid
        digest = request.signature_hash_algorithm
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise BadRequest("csr cannot be read; it must be a PKCS#10 request in PEM") from error
    if not is_signed:
        raise BadRequest("csr: its signature is wrong; sign it with the private key of the key in it")
    if digest is not None and not isinstance(digest, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        raise BadRequest(f"csr is signed with {digest.name}; use SHA-256")
    if has_extensions:
        raise BadRequest("csr asks for extensions; leave them out, the authority alone sets them")
    return _strong(key)


def spki_sha256(key: CertificatePublicKeyTypes) -> bytes:
    """What a public key is told apart by."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()


def _strong(key: object) -> CertificatePublicKeyTypes:
    match key:
        case ec.EllipticCurvePublicKey():
            if not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
                raise BadRequest(f"csr: curve {key.curve.name} is not taken; use P-256, P-384 or Ed25519")
            return key
        case ed25519.Ed25519PublicKey():
            return key
        case rsa.RSAPublicKey():
            if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
                raise BadRequest(
                    f"csr: RSA with {key.key_size} bits is not taken; use EC P-256, or RSA with "
                    f"{MIN_RSA_BITS} to {MAX_RSA_BITS}"
                )
            return key
    raise BadRequest(f"csr: a key of type {type(key).__name__} is not taken; use EC P-256")
