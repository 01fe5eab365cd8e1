"""What provisioning reads from the environment."""

from pathlib import Path
from typing import Final, Literal

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
    app_url: str = "http://127.0.0.1:3001"
    """Where invitations lead: the address under which people reach the api."""

    authority_dir: Path | None = None
    """root.pem, issuing.pem, issuing.key: `python -m services.provisioning authority init` makes them."""
    enrol_host: str = "127.0.0.1"
    enrol_port: int = Field(default=8443, ge=0, le=65535)
    """The boxes' door, over TLS; open when there is an authority."""
    enrol_names: str = "localhost,127.0.0.1"
    """Names and addresses by which boxes reach that door, for its certificate."""
    enrol_url: str | None = None
    """Its address as boxes see it, for links. Unset: the first of those names, with the port."""
    enrol_failures_per_minute: int = Field(default=60, ge=1)
    """By one address at that door, before it has to wait. Only failures count."""
    crl_url: str | None = None
    """Where the revocation list is to be had, named in boxes' certificates: EMQX asks there."""
    mqtt_public_host: str = "localhost"
    mqtt_tls_port: int = Field(default=8883, ge=1, le=65535)
    mqtt_token_port: int = Field(default=8884, ge=1, le=65535)
    """The broker as boxes and simple devices see it."""
    broker_kind: Literal["mosquitto", "emqx", "none"] = "none"
    """Who is told of revocations and asked to end sessions."""
    mosquitto_dir: Path | None = None
    """Where Mosquitto reads acl, passwords and crl.pem, and writes mosquitto.pid."""
    mqtt_admin_host: str = "127.0.0.1"
    mqtt_admin_port: int = Field(default=8883, ge=1, le=65535)
    """Mosquitto's port for certificates: sessions are ended there by takeover."""
    emqx_api_url: str = "http://emqx:18083"
    emqx_api_key: str = ""
    emqx_api_secret: SecretStr = SecretStr("")

    smtp_url: SecretStr = SecretStr("")
    """smtp://user:password@host:587 or smtps://host. Empty: mails wait in the table notice."""
    mail_from: str = "overwatt@localhost"
    ops_email: str = ""
    """Who is told when a person asks for deletion. Empty: the log and the audit log alone."""

    @field_validator("enrol_url")
    @classmethod
    def _is_https(cls, value: str | None) -> str | None:
        if value and not value.startswith("https://"):
            raise ValueError("must begin with https://: boxes speak nothing else")
        return value.rstrip("/") if value else None

    @field_validator("tenant_id")
    @classmethod
    def _is_tenant(cls, value: str) -> str:
        if not is_tenant(value):
            raise ValueError(f"must match {TENANT.pattern}")
        return value

    @property
    def enrol_server_names(self) -> list[str]:
        """Of the boxes' door."""
        return [name.strip() for name in self.enrol_names.split(",") if name.strip()]


def admin_key(settings: Settings) -> str:
    """The key, or an exit in production while it is the sample that everybody knows (P-061)."""
    key = settings.provision_admin_key.get_secret_value()
    if settings.in_production and key == SAMPLE_KEY:
        raise SystemExit(
            "Error: PROVISION_ADMIN_KEY is the sample key; ENVIRONMENT=production needs a secret of your own."
        )
    return key
