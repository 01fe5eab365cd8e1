"""What can be watched of the keeper."""

from typing import Final

from prometheus_client import Counter, Gauge

LAST_ROUND: Final = Gauge(
    "provisioning_broker_last_round_timestamp",
    "Unix time in seconds at which the broker last knew everything",
)
DENIED: Final = Gauge("provisioning_broker_denied", "Identities that the broker is told to deny")
CUTS: Final = Counter("provisioning_session_cuts_total", "Sessions to be ended, by outcome", ["outcome"])
