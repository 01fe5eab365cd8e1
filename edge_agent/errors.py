"""The words for what goes wrong: never again, or again later. Anything else is a bug."""


class Invalid(Exception):
    """It can never work this way; the message names the field, the value and what would be right."""


class Unavailable(Exception):
    """It does not work now; the message says what was attempted."""
