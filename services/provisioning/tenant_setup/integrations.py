"""Which integrations a tenant can have, and which secrets each of them needs (U-C06)."""

from collections.abc import Iterable
from typing import Final

INTEGRATIONS: Final = {
    "telegram": ("TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID"),
    "twilio": ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM", "TWILIO_TEST_TO"),
}


def required_secrets(integrations: Iterable[str], of_pack: Iterable[str] = ()) -> tuple[str, ...]:
    """Names of all secrets that must be there, each once."""
    needed = [name for each in integrations for name in INTEGRATIONS[each]]
    return tuple(dict.fromkeys((*of_pack, *needed)))
