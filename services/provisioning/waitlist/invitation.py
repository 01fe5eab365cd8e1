"""What an invited person is written."""

from typing import Final
from urllib.parse import quote

PLACEHOLDER: Final = "PASTE_TOKEN_HERE"
SUBJECT: Final = "You are invited"
BODY: Final = """Hello{name},

your place is ready. Switch your box on and paste this line into its local page or its terminal:

{token}

The link works once, for this e-mail address, until it expires.
"""


def text(name: str, token_url: str) -> str:
    """The body of the mail."""
    return BODY.format(name=f" {name}" if name else "", token=token_url)


def mailto(email: str, name: str) -> str:
    """A link that opens the mail in the operator's own program, with a placeholder for the token (H-014)."""
    body = quote(text(name, PLACEHOLDER), safe="")
    return f"mailto:{quote(email, safe='@')}?subject={quote(SUBJECT, safe='')}&body={body}"
