"""What can be watched, beside the requests that services.runtime.web counts."""

from typing import Final

from prometheus_client import Counter, Gauge

REFUSED: Final = Counter(
    "api_refused_callers_total", "Requests without a valid identity, by reason", ["reason"]
)
SEALED: Final = Counter("api_audit_rows_sealed_total", "Rows that this process chained into the audit log")
LAST_SEAL: Final = Gauge(
    "api_audit_last_seal_timestamp", "Unix time in seconds of the last round of the sealer that succeeded"
)
CHAIN_LENGTH: Final = Gauge("api_audit_chain_rows", "Rows in the sealed audit log when it was last sealed")
