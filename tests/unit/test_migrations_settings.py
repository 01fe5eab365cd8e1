"""What the runner accepts from the environment."""

import pytest
from pydantic import ValidationError

from db.settings import Settings


def test_the_default_database_is_the_one_of_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    # P-038
    monkeypatch.delenv("DATABASE_URL", raising=False)

    assert Settings().database_url == "postgresql://iot:iot_dev@postgres:5432/iotcloud"


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_a_reset_is_refused_in_production(value: str) -> None:
    # D-006
    with pytest.raises(ValidationError, match="DB_RESET=1 empties the database, refused with"):
        Settings.model_validate(
            {"db_reset": value, "environment": "production", "service_password": "long-random"}
        )


@pytest.mark.parametrize("password", ["", "iot_dev"])
def test_the_development_password_is_refused_in_production(password: str) -> None:
    with pytest.raises(ValidationError, match="SERVICE_PASSWORD is unset or the development default"):
        Settings(environment="production", service_password=password)


def test_the_password_is_not_shown() -> None:
    assert "hush" not in repr(Settings(service_password="hush"))
