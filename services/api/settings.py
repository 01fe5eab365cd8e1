"""What the api reads from the environment."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from overwatt.topics import TENANT, is_tenant
from services.runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """Environment of `python -m services.api`."""

    api_host: str = "127.0.0.1"
    api_port: int = Field(default=3001, ge=0, le=65535)
    controller_url: str = "http://127.0.0.1:3002"
    provisioning_url: str = "http://127.0.0.1:8081"
    provision_admin_key: SecretStr = SecretStr("change-me-now")
    """What provisioning wants to see; in production it refuses to start with this sample."""
    tenant_id: str = "default"
    """Whom a program on this machine is without a token, never with ENVIRONMENT=production."""
    api_token_key: SecretStr | None = None
    """Signs and checks tokens; 32 bytes at least. In development one is made and kept in token.key."""
    overwatt_home: Path = Path(".local")

    @field_validator("tenant_id")
    @classmethod
    def _is_tenant(cls, value: str) -> str:
        if not is_tenant(value):
            raise ValueError(f"must match {TENANT.pattern}")
        return value
