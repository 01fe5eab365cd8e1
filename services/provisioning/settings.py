"""What provisioning reads from the environment."""

from typing import Final

from pydantic import Field, SecretStr, field_validator

from overwatt.topics import TENANT, is_tenant
from services.runtime.settings import RuntimeSettings

SAMPLE_KEY: Final = "change-me-now"


class Settings(RuntimeSettings):
    """Environment of `python -m services.provisioning`."""

    provisioning_host: str = "127.0.0.1"
    provisioning_port: int = Field(default=8081, ge=0, le=65535)
    provision_admin_key: SecretStr = SecretStr(SAMPLE_KEY)
    """What X-Admin-Key must carry. Empty: nobody gets in."""
    assets_path: str | None = None
    """The assets file. Unset: assets.yaml in the working directory or the workspace root. Empty: none."""
    tenant_id: str = "default"
    """Whose the assets of the file are."""

    @field_validator("tenant_id")
    @classmethod
    def _is_tenant(cls, value: str) -> str:
        if not is_tenant(value):
            raise ValueError(f"must match {TENANT.pattern}")
        return value


def admin_key(settings: Settings) -> str:
    """The key, or an exit in production while it is the sample that everybody knows (P-061)."""
    key = settings.provision_admin_key.get_secret_value()
    if settings.in_production and key == SAMPLE_KEY:
        raise SystemExit(
            "Error: PROVISION_ADMIN_KEY is the sample key; ENVIRONMENT=production needs a secret of your own."
        )
    return key
