"""What can be watched."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Gateway
MESSAGES: Final = Counter(
    "ingest_messages_total",
    "MQTT messages by result: accepted, rejected (in part or whole), dropped (QoS 0 beyond the queue)",
    ["result"],
)
REJECTIONS: Final = Counter(
    "ingest_rejections_total", "Messages and samples that could not be used, by reason", ["reason"]
)
QUEUE_DEPTH: Final = Gauge("ingest_queue_depth", "MQTT messages taken and not yet safe in Kafka")
PAUSES: Final = Counter(
    "ingest_pauses_total", "Times that the queue was full, so that the broker had to keep messages back"
)
PAUSED: Final = Gauge("ingest_paused", "1 while the queue is full (gateway) or the database away (writer)")
PRODUCE_SECONDS: Final = Histogram(
    "ingest_kafka_produce_seconds", "From handing a bulk to Kafka until all of it is safe", buckets=SECONDS
)
CONNECTED: Final = Gauge("ingest_mqtt_connected", "1 while this MQTT session is up", ["session"])
ADOPTED: Final = Gauge("ingest_adopted_sessions", "MQTT sessions served for a replica that is silent")
STALE_ACKS: Final = Counter(
    "ingest_stale_acks_total", "Acknowledgements not sent since their connection is gone; broker sends again"
)
ACKS: Final = Counter("ingest_acks_total", "Application acknowledgements published, by wire form", ["form"])
COMMANDS: Final = Counter(
    "ingest_commands_total", "Commands by result: published, refused, expired, unsent", ["result"]
)
CONFIGS: Final = Counter("ingest_configs_total", "Desired configurations published")

# HTTP door
HTTP_SAMPLES: Final = Counter(
    "ingest_http_samples_total",
    "Samples by HTTP: accepted, rejected; requests unanswered in time",
    ["result"],
)
HTTP_WAITING: Final = Gauge("ingest_http_waiting", "Samples by HTTP that have no outcome yet")

# Writer
BUFFERED: Final = Gauge("ingest_buffered_rows", "Samples that wait for the next flush", ["topic"])
ROWS: Final = Counter("ingest_rows_written_total", "Samples committed, by way: copy or staging", ["way"])
POINTS: Final = Counter("ingest_points_written_total", "Values committed")
LATE: Final = Counter("ingest_rows_late_total", "Samples older than two hours, put off to telemetry.late")
REPEATED: Final = Counter("ingest_rows_repeated_total", "Samples that were committed before and came again")
COMMIT_SECONDS: Final = Histogram(
    "ingest_commit_seconds", "From the begin of a flush's transaction to its commit", buckets=SECONDS
)
BATCH_ROWS: Final = Histogram(
    "ingest_batch_rows", "Samples a flush", buckets=(1, 10, 100, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000)
)
LAG: Final = Gauge(
    "ingest_lag_records", "Kafka records behind the end of the partition", ["topic", "partition"]
)
FENCED: Final = Counter("ingest_fenced_total", "Flushes thrown away since another writer has the partition")
LOST_OFFSETS: Final = Counter(
    "ingest_records_lost_total", "Kafka records whose retention ended before they were written"
)
UNUSABLE: Final = Counter("ingest_unusable_records_total", "Kafka records that say nothing usable", ["topic"])
LAST_COMMIT: Final = Gauge("ingest_last_commit_timestamp", "Unix time in seconds of the last commit")
ROLLUPS: Final = Counter(
    "ingest_rollups_refreshed_total", "Device hours whose rollups were brought up to date"
)
