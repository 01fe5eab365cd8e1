"""What can be watched."""

from typing import Final

from prometheus_client import Counter, Gauge

PUBLISHED: Final = Counter("provisioning_registry_published_total", "Device records that Kafka has taken")
UNPUBLISHED: Final = Gauge(
    "provisioning_registry_unpublished", "Devices that Kafka had not heard of when the last round began"
)
LAST_PUBLISH: Final = Gauge(
    "provisioning_registry_last_round_timestamp", "Unix time in seconds of the last round that succeeded"
)
IMPORTED: Final = Counter(
    "provisioning_imported_total", "What imports of the assets file changed, by kind of change", ["change"]
)
REFUSED_KEYS: Final = Counter(
    "provisioning_refused_keys_total", "Requests with a missing or wrong X-Admin-Key"
)
MODE_FLIPS: Final = Counter("provisioning_mode_flips_total", "Changes of a box's mode", ["mode"])
