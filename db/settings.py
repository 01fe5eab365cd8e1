"""What the migration runner reads from the environment."""

from typing import Final, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

DEVELOPMENT_PASSWORD: Final = "iot_dev"


class Settings(BaseSettings):
    """Environment of `python -m db.migrate`."""

    database_url: str = "postgresql://iot:iot_dev@postgres:5432/iotcloud"
    """of a superuser: migrations create roles and look past row-level security"""
    service_password: str = Field(default=DEVELOPMENT_PASSWORD, repr=False)
    """of the five services' login roles"""
    environment: str = "development"
    db_reset: bool = False
    """empties the database first; development only (D-006)"""

    @model_validator(mode="after")
    def _refuse_development_in_production(self) -> Self:
        if self.environment != "production":
            return self
        if self.db_reset:
            raise ValueError("DB_RESET=1 empties the database, refused with ENVIRONMENT=production: unset it")
        if self.service_password in ("", DEVELOPMENT_PASSWORD):
            raise ValueError(
                "SERVICE_PASSWORD is unset or the development default, which is refused with "
                "ENVIRONMENT=production: set it to a long random value"
            )
        return self
