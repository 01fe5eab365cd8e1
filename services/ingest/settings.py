"""What ingest reads from the environment."""

from pathlib import Path
from typing import Final

from pydantic import Field, model_validator

from overwatt.topics import GATEWAYS
from services.runtime.settings import RuntimeSettings

MOST_IN_FLIGHT: Final = 65_535
"""MQTT 5 has two bytes for the receive maximum."""


class Settings(RuntimeSettings):
    """Environment of `python -m services.ingest`."""

    mqtt_host: str = "emqx"
    mqtt_port: int = Field(default=1883, ge=1, le=65535)
    mqtt_ca: Path | None = None
    """Set: mutual TLS, with the certificate and key below. Production has no other way."""
    mqtt_cert: Path | None = None
    mqtt_key: Path | None = None
    gateway_index: int = Field(default=0, ge=0, lt=GATEWAYS)
    """Number of this replica, from 0; its MQTT session is its own."""
    gateway_count: int = Field(default=1, ge=1, le=GATEWAYS)
    """How many replicas share the telemetry."""

    ingest_worker_count: int = Field(default=4, ge=1, le=64)
    """P-044: tasks that decode and forward."""
    ingest_queue_size: int = Field(default=10_000, ge=1)
    """P-045: messages taken and not yet safe in Kafka; then the broker keeps the rest."""

    # Of each gateway; 0 is no limit. A burst is what may come at once after silence.
    ingest_device_rate: float = Field(default=10.0, ge=0)
    """U-P05: messages a second of a simple device; what is beyond is rejected."""
    ingest_device_burst: float = Field(default=50.0, ge=1)
    ingest_agent_rate: float = Field(default=2_000.0, ge=0)
    """Samples a second of an agent; what is beyond is to come later."""
    ingest_agent_burst: float = Field(default=20_000.0, ge=1)
    ingest_tenant_rate: float = Field(default=200_000.0, ge=0)
    """Of all agents of a tenant (samples), and of all its simple devices (messages)."""
    ingest_tenant_burst: float = Field(default=400_000.0, ge=1)

    ingest_http_host: str = "127.0.0.1"
    ingest_http_port: int = Field(default=8444, ge=0, le=65535)
    """The door for those who cannot speak MQTT (U-P06)."""
    ingest_http_cert: Path | None = None
    """Set: TLS, with the key below; read again when the file changes. Production has no other way."""
    ingest_http_key: Path | None = None

    timescale_batch_size: int = Field(default=1_000, ge=1, le=1_000_000)
    """P-039: samples that make a flush."""
    timescale_flush_interval_ms: int = Field(default=1_000, ge=1, le=60_000)
    """P-040: the longest that a sample waits for others."""
    telemetry_retention_days: int = Field(default=90, ge=12, le=3_650)
    """Raw data older than this are dropped."""
    rollup_interval_s: float = Field(default=30.0, gt=0)
    """Between two refreshes of rollups, while data come in."""

    @model_validator(mode="after")
    def _is_safe(self) -> "Settings":
        given = [self.mqtt_ca, self.mqtt_cert, self.mqtt_key]
        if any(given) and not all(given):
            raise ValueError("MQTT_CA, MQTT_CERT and MQTT_KEY belong together: set all three, or none")
        if bool(self.ingest_http_cert) != bool(self.ingest_http_key):
            raise ValueError("INGEST_HTTP_CERT and INGEST_HTTP_KEY belong together: set both, or none")
        if self.gateway_index >= self.gateway_count:
            raise ValueError(
                f"GATEWAY_INDEX={self.gateway_index} with GATEWAY_COUNT={self.gateway_count}: replicas are "
                "counted from 0, so the index must be below the count"
            )
        return self

    @property
    def receive_maximum(self) -> int:
        """Unacknowledged messages that the broker may have out with us."""
        return min(self.ingest_queue_size, MOST_IN_FLIGHT)

    def mqtt_files(self, index: int) -> tuple[Path, Path, Path] | None:
        """Authority, certificate and key of a session: those of the others lie beside our own, by name."""
        if not (self.mqtt_ca and self.mqtt_cert and self.mqtt_key):
            return None
        if index == self.gateway_index:
            return self.mqtt_ca, self.mqtt_cert, self.mqtt_key
        name = session_id(index)
        return self.mqtt_ca, self.mqtt_cert.with_name(f"{name}.pem"), self.mqtt_key.with_name(f"{name}.key")


def session_id(index: int) -> str:
    """MQTT client id and user name of a session; also the common name of its certificate."""
    return f"svc-ingest-{index}"


def refuse_plain_mqtt(settings: Settings) -> None:
    """An exit in production while the gateway would speak without TLS."""
    if settings.in_production and not settings.mqtt_ca:
        raise SystemExit(
            "Error: MQTT_CA, MQTT_CERT and MQTT_KEY are not set; ENVIRONMENT=production needs mutual TLS "
            "(`python -m services.provisioning authority service --name svc-ingest-0 ...` makes the files)."
        )
