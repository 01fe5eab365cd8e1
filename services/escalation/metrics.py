"""Metrics of this service: name, kind, labels, a sentence."""

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter("escalation_records_total", "Kafka records judged, by topic.", ["topic"])
UNUSABLE = Counter("escalation_records_unusable_total", "Kafka records that could not be read.", ["topic"])
ALERTS_OPENED = Counter("escalation_alerts_opened_total", "Alerts opened, by severity 1 to 4.", ["severity"])
ALERTS_CLOSED = Counter("escalation_alerts_closed_total", "Alerts closed by their own cause.")
EVENTS_DROPPED = Counter(
    "escalation_events_dropped_total", "Alert events not sent to Kafka: too many waited."
)
TICKS = Counter("escalation_ticks_total", "Turns of the escalation engine.")
TICK_SECONDS = Histogram("escalation_tick_seconds", "Duration of a turn of the engine.")
UNHEARD = Counter("escalation_unheard_total", "Alerts that were due while nobody could be told.")
ATTEMPTS = Counter("escalation_attempts_total", "Delivery attempts, by what became of them.", ["outcome"])
ATTEMPT_SECONDS = Histogram("escalation_attempt_seconds", "Duration of a delivery attempt.")
LEASES_LOST = Counter("escalation_leases_lost_total", "Attempts that ended after their lease had passed on.")
SILENT = Gauge("escalation_silent_devices", "Devices that were heard once and are silent now.")
