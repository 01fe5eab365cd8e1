"""Signatures: the standard's own vector, ours, and the standard's library as an independent judge."""

from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from services.escalation import signing
from services.runtime.errors import Invalid

BODY = b'{"type":"escalation.page","timestamp":"2026-03-29T01:00:00Z","data":{"alert_id":"al_1","level":1}}'


def test_the_vector_of_the_specification_is_reproduced() -> None:
    head = signing.headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )

    assert head == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_our_own_vector_stays_as_it_is() -> None:
    secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

    head = signing.headers("dlv_01JTEST", 1774746000, BODY, [secret])

    assert head["webhook-signature"] == "v1,djt6fnhTk42qRy+jzzPwO8u5bVnrK/ItR0a6UkGvgEM="


def test_both_secrets_of_a_rotation_are_good_and_a_third_is_not() -> None:
    old, new, other = (signing.new_secret() for _ in range(3))

    head = signing.headers("id-1", int(datetime.now(UTC).timestamp()), BODY, [new, old])

    Webhook(old).verify(BODY, head)
    Webhook(new).verify(BODY, head)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(BODY, head)


@pytest.mark.parametrize("changed", ["webhook-id", "body"])
def test_a_changed_message_is_noticed(changed: str) -> None:
    secret = signing.new_secret()
    head = signing.headers("id-1", int(datetime.now(UTC).timestamp()), BODY, [secret])
    body = BODY + b" " if changed == "body" else BODY

    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, head | {"webhook-id": "id-2"} if changed == "webhook-id" else head)


def test_a_new_secret_is_32_random_bytes() -> None:
    one, two = signing.new_secret(), signing.new_secret()

    assert one != two
    assert one.startswith("whsec_")
    assert len(Webhook(one)._whsecret) == 32


def test_a_secret_that_is_no_base64_is_refused_without_being_repeated() -> None:
    with pytest.raises(Invalid, match="secret: must be whsec_ and base64") as refused:
        signing.headers("id", 1, BODY, ["whsec_!not base64!"])

    assert "!not" not in str(refused.value)
