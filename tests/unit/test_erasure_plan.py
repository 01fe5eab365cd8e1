"""When a request for deletion is due, and what the archive says about itself."""

from datetime import UTC, datetime, timedelta

from services.api.account_data.archive import described, readme
from services.api.account_data.fields import PER_DEVICE, TABLES
from services.provisioning.erasure import plan
from services.runtime.mail import Mailer, compose
from services.runtime.personal import person_of_email

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def test_the_target_is_seven_days_and_the_law_gives_thirty() -> None:  # H-020
    assert plan.target_at(NOW) == NOW + timedelta(days=7)
    assert plan.due_at(NOW) == NOW + timedelta(days=30)


def test_overdue_is_what_is_not_executed_after_its_due_time() -> None:  # H-020
    due = plan.due_at(NOW)

    assert not plan.is_overdue(due, None, due)
    assert plan.is_overdue(due, None, due + timedelta(seconds=1))
    assert not plan.is_overdue(due, due - timedelta(days=1), due + timedelta(days=1))


def test_every_field_of_the_archive_is_described_once() -> None:
    text = readme(NOW)

    assert len(described()) == len(TABLES) + len(PER_DEVICE)
    for name, table in described().items():
        assert name in text
        for field, meaning in table["fields"].items():
            assert meaning.strip(), (name, field)
            assert f"  {field}: {meaning}\n" in text


def test_an_address_has_one_key_however_it_is_written_and_another_in_each_tenant() -> None:
    assert person_of_email("t", "Anna@Example.org") == person_of_email("t", "anna@example.ORG")
    assert person_of_email("t", "anna@example.org") != person_of_email("u", "anna@example.org")
    assert "anna" not in person_of_email("t", "anna@example.org")


def test_a_message_is_the_same_one_however_often_it_is_sent() -> None:
    one, two = (
        compose("Overwatt <a@example.org>", "c@d.org", "S", "B", message_id="7")["Message-ID"] for _ in "12"
    )

    assert one == two == "<7@example.org>"


def test_a_mail_servers_url_says_host_port_user_and_tls() -> None:
    mailer = Mailer("smtps://user%40x:p%2Fw@mail.example.org", "a@b")

    assert (mailer._host, mailer._port, mailer._user, mailer._password, mailer._is_tls) == (
        *("mail.example.org", 465, "user@x", "p/w", True),
    )
