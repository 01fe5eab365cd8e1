"""Who may publish and hear what: the one source of both brokers' rules. What is not named is denied."""

from typing import Final, Literal, NamedTuple

from overwatt import topics


class Rule(NamedTuple):
    """Somebody may do something on these channels: a device on its own, a gateway on everybody's."""

    who: Literal["nameless", "gateway", "device"]
    """nameless: without a user name, on Mosquitto's loopback port in development only"""
    does: Literal["publish", "subscribe"]
    channels: tuple[str, ...]
    others: tuple[str, ...] = ()
    """whole filters beside the channels"""


RULES: Final = (
    Rule("nameless", "publish", ("telemetry",)),
    Rule("gateway", "subscribe", topics.UP, (topics.BEATS,)),
    # And an empty retained status: that is how the status of what was erased is taken away.
    Rule("gateway", "publish", (*topics.DOWN, "status"), (topics.BEATS,)),
    Rule("device", "publish", topics.UP),
    Rule("device", "subscribe", topics.DOWN),
)
