"""What every process stands on: settings, logs without secrets, back-off, exact time."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.clock import from_us, to_us
from services.runtime.errors import Unavailable
from services.runtime.log import redact
from services.runtime.retry import Backoff, until_available
from services.runtime.settings import RuntimeSettings, load_settings


def test_the_database_url_has_the_documented_default() -> None:  # P-038
    assert RuntimeSettings.model_fields["database_url"].default == (
        "postgresql://iot:iot_dev@postgres:5432/iotcloud"
    )


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_both_postgres_schemes_are_accepted(scheme: str) -> None:  # D-041
    url = f"{scheme}://bess:besspassword@localhost:5432/bess"
    assert RuntimeSettings(database_url=url).database_url == url


def test_a_wrong_setting_ends_the_process_and_names_the_variable() -> None:
    code = (
        "from services.runtime.settings import RuntimeSettings, load_settings; load_settings(RuntimeSettings)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"DATABASE_URL": "mysql://x", "PYTHONPATH": ".:proto"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "DATABASE_URL" in done.stderr
    assert "postgresql://user:password@host:5432/database" in done.stderr


def test_settings_are_read_from_the_environment_of_the_process() -> None:
    assert load_settings(RuntimeSettings).environment in ("development", "test", "production")


def test_logs_carry_no_secret_and_no_personal_value() -> None:  # C-043, T-051
    event = redact(
        None,
        "info",
        {
            "event": "mail to ada@example.org or +49 30 1234567 failed",
            "url": "postgresql://iot:iot_dev@db:5432/iotcloud",
            "admin_key": "k-123",
            "nested": {"push_token": "t-1", "count": 3},
            "list": ["whsec_MfKQ9r8GKYqr"],
        },
    )
    text = json.dumps(event)
    for secret in ("ada@example.org", "1234567", "iot_dev", "k-123", "t-1", "whsec_"):
        assert secret not in text
    assert "db:5432" in text
    assert '"count": 3' in text


@given(st.integers(min_value=0, max_value=80), st.floats(min_value=0, max_value=1))
def test_a_delay_is_never_longer_than_its_ceiling_nor_shorter_than_half(attempt: int, jitter: float) -> None:
    backoff = Backoff(first_s=0.1, longest_s=5.0)
    ceiling = min(0.1 * 2.0 ** min(attempt, 32), 5.0)
    assert ceiling / 2 <= backoff.delay_s(attempt, jitter) <= ceiling


async def test_what_is_unavailable_is_tried_again_until_it_answers() -> None:
    left = [Unavailable("not yet"), Unavailable("not yet")]

    async def call() -> str:
        if left:
            raise left.pop()
        return "there"

    assert await until_available("test", call, backoff=Backoff(0.001, 0.001)) == "there"


async def test_a_bug_is_not_repeated() -> None:
    async def call() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await until_available("test", call)


@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_microseconds_keep_an_instant_exactly(instant: datetime) -> None:
    assert from_us(to_us(instant)) == instant
