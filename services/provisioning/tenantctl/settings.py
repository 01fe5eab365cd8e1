"""What tenantctl reads from the environment."""

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.provisioning.settings import SAMPLE_KEY

WORKSPACE: Final = Path(__file__).parents[3]


class Settings(BaseSettings):
    """Environment of `tenantctl`; every address has the default of `make start`."""

    model_config = SettingsConfigDict(extra="ignore")

    environment: Literal["development", "test", "production"] = "development"
    port_offset: int = 0
    provisioning_port: int = Field(default=0, ge=0, le=65535)
    provisioning_url: str = ""
    provision_admin_key: SecretStr = SecretStr(SAMPLE_KEY)
    api_port: int = Field(default=0, ge=0, le=65535)
    api_url: str = ""
    overwatt_home: Path = WORKSPACE / ".local"
    tenants_dir: Path = Field(default_factory=lambda data: data["overwatt_home"] / "tenants")
    """Where each tenant's stack has its directory; /srv/portal in production."""
    backup_dir: Path = Field(default_factory=lambda data: data["overwatt_home"] / "backups")
    """Where final dumps are looked for."""
    certs_dir: Path = Path("/etc/overwatt/certs")
    """The brokers' certificates of a stack lie in a directory below, named as its project."""
    tenant_domain: str = "portal.example.com"
    telegram_api_url: str = "https://api.telegram.org"
    twilio_api_url: str = "https://api.twilio.com"
    docker: str = "docker"
    compose: str = "docker compose"

    @property
    def provisioning(self) -> str:
        """Address of provisioning's 8081."""
        return self.provisioning_url or _local(self.provisioning_port or 8081 + self.port_offset)

    @property
    def api(self) -> str:
        """Address of the operators' door."""
        return self.api_url or _local(self.api_port or 3001 + self.port_offset)

    def admin_key(self) -> str | None:
        """The key; None while it is missing, or the sample one in production."""
        key = self.provision_admin_key.get_secret_value()
        is_sample = self.environment == "production" and key == SAMPLE_KEY
        return None if is_sample else key or None


def _local(port: int) -> str:
    return f"http://127.0.0.1:{port}"
