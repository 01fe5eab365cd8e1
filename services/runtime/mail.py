"""Mail by SMTP: one message at a time, over TLS wherever the URL or the server offers it.

`smtp://user:password@host:587` uses STARTTLS when it is offered, `smtps://host:465` is TLS from the start.
"""

from email.message import EmailMessage
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from services.runtime.errors import Invalid, Unavailable

TIMEOUT_S: Final = 20.0
PERMANENT: Final = 500
"""SMTP codes from here on say: never again."""


class Mailer:
    """Sends through one server."""

    def __init__(self, smtp_url: str, sender: str) -> None:
        parts = urlsplit(smtp_url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise Invalid(f"SMTP_URL must look like smtp://user:password@host:587 (scheme {parts.scheme!r})")
        self._host = parts.hostname
        self._is_tls = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._is_tls else 25)
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._sender = sender

    async def send(self, recipient: str, subject: str, body: str, *, message_id: str) -> None:
        """Raises Unavailable where repeating can succeed, else Invalid; a retry has the same `message_id`."""
        try:
            await aiosmtplib.send(
                compose(self._sender, recipient, subject, body, message_id=message_id),
                hostname=self._host,
                port=self._port,
                username=self._user,
                password=self._password,
                use_tls=self._is_tls,
                timeout=TIMEOUT_S,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [each.code for each in error.recipients]
            raise _kind(min(codes, default=0))(f"the server refuses the recipient ({codes})") from error
        except aiosmtplib.SMTPResponseException as error:
            raise _kind(error.code)(f"the server answers {error.code}") from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Unavailable(f"SMTP at {self._host}:{self._port}: {type(error).__name__}") from error


def compose(sender: str, recipient: str, subject: str, body: str, *, message_id: str) -> EmailMessage:
    """A plain text message; raises Invalid for what cannot stand in a header."""
    message = EmailMessage()
    try:
        message["From"] = sender
        message["To"] = recipient
        message["Subject"] = subject
        domain = sender.rpartition("@")[2].rstrip(">") or "localhost"
        message["Message-ID"] = f"<{message_id}@{domain}>"
    except ValueError as error:
        raise Invalid("recipient and subject must each be one line") from error
    message.set_content(body)
    return message


def _kind(code: int) -> type[Invalid] | type[Unavailable]:
    return Invalid if code >= PERMANENT else Unavailable
