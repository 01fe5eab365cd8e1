"""The few settings that all services have. Read once, in `__main__`; below it plain values are passed."""

import sys
from typing import Literal, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

S = TypeVar("S", bound=BaseSettings)


class RuntimeSettings(BaseSettings):
    """Environment variables of every service; a service adds its own by inheriting."""

    model_config = SettingsConfigDict(extra="ignore")

    database_url: str = "postgresql://iot:iot_dev@postgres:5432/iotcloud"
    """P-038. postgres:// is accepted too (D-041)."""
    kafka_bootstrap: str = "kafka:9092"
    redis_url: str = "redis://redis:6379/0"
    environment: Literal["development", "test", "production"] = "development"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    health_host: str = "127.0.0.1"
    health_port: int = Field(default=0, ge=0, le=65535)
    """Of /health, /health/ready and /metrics; 0 takes a free one and logs it."""

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: str) -> str:
        if not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("must look like postgresql://user:password@host:5432/database")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @property
    def in_production(self) -> bool:
        """Whether defaults that are only fit for development must be refused."""
        return self.environment == "production"


def load_settings(settings: type[S]) -> S:
    """The service's settings, or an exit with one line per wrong variable."""
    try:
        return settings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(
                f"Error: {name or 'settings'}: {problem['msg']} (got {problem['input']!r})", file=sys.stderr
            )
        raise SystemExit(2) from None
