"""Standard Webhooks v1: base64 of HMAC-SHA256 over `id.timestamp.body`, one signature per active secret."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

from services.runtime.errors import Invalid

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def headers(delivery_id: str, timestamp_s: int, body: bytes, active: Sequence[str]) -> dict[str, str]:
    """The three headers of the standard. Two secrets during a rotation give two signatures."""
    signed = f"{delivery_id}.{timestamp_s}.".encode() + body
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(_signature(secret, signed) for secret in active),
    }


def _signature(secret: str, signed: bytes) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise Invalid(f"secret: must be {PREFIX} and base64 ({error})") from error
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
