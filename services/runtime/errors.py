"""The vocabulary of failure. Anything else is a bug: the process stops and is restarted."""


class Invalid(Exception):
    """Never again: the same input can never work. Dead letter or a 4xx answer."""


class Unavailable(Exception):
    """Again later: the other side is not there. Back off and repeat."""
