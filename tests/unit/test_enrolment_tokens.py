"""Tokens, activation codes and the limits on those who guess them."""

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.provisioning.enrolment.limits import Gate, Limit, Strikes, TooMany, address_key
from services.provisioning.enrolment.model import Standing
from services.provisioning.enrolment.tokens import (
    EnrolToken,
    enrol_url,
    hash_of,
    judge,
    mosquitto_hash,
    new_code,
    new_token,
    normal_code,
    same_email,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
OPEN = EnrolToken(
    token_hash=b"h" * 32,
    prefix="abcdefgh",
    tenant_id="t",
    box_id="b",
    email="Owner@Example.com",
    expires_at=NOW + timedelta(hours=1),
    withdrawn_at=None,
    used_at=None,
    spki_sha256=None,
    serial=None,
)
USED = replace(OPEN, used_at=NOW, spki_sha256=KEY, serial="7")


def test_a_token_has_256_bits_and_stands_nowhere_in_its_hash() -> None:
    token = new_token()  # H-013: the database holds only a hash

    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    assert hash_of(token) == hashlib.sha256(token.encode()).digest()
    assert enrol_url("https://h:8443", "ab" * 32, token) == f"https://h:8443/enroll?root={'ab' * 32}#{token}"


@pytest.mark.parametrize("odd", ["", "\ud800", "а" * 200, "\x00", "' or 1=1 --"])
def test_whatever_a_stranger_sends_has_a_hash(odd: str) -> None:
    assert len(hash_of(odd)) == 32


@pytest.mark.parametrize(
    ("token", "email", "key", "verdict"),
    [
        (OPEN, "owner@example.com", KEY, "fresh"),
        (OPEN, " OWNER@EXAMPLE.COM ", KEY, "fresh"),
        (OPEN, "other@example.com", KEY, "email"),  # H-013
        (OPEN, "оwner@example.com", KEY, "email"),  # a Cyrillic o
        (OPEN, "owner@example.com\x00", KEY, "email"),
        (OPEN, "", KEY, "email"),
        (USED, "owner@example.com", KEY, "again"),
        (USED, "owner@example.com", OTHER_KEY, "used"),  # H-013
        (USED, "other@example.com", KEY, "used"),
        (replace(OPEN, expires_at=NOW), "owner@example.com", KEY, "expired"),  # H-013
        (replace(USED, expires_at=NOW), "owner@example.com", KEY, "expired"),
        (replace(OPEN, withdrawn_at=NOW), "owner@example.com", KEY, "withdrawn"),
        (replace(USED, withdrawn_at=NOW), "owner@example.com", KEY, "withdrawn"),
    ],
)
def test_what_becomes_of_an_attempt(token: EnrolToken, email: str, key: bytes, verdict: str) -> None:
    assert judge(token, email, key, NOW) == verdict


def test_look_alike_addresses_are_not_the_same() -> None:
    assert not same_email("straße@example.com", "strasse@example.com")
    assert not same_email("ﬁn@example.com", "fin@example.com")


def test_a_code_can_be_typed_in_any_way() -> None:
    code = new_code()  # U-P08

    assert len(code) == 14
    for typed in (code, code.lower(), code.replace("-", ""), f" {code.replace('-', ' ')} "):
        assert normal_code(typed) == code
    assert not set(code) & set("ILOU01")


def test_mosquitto_can_check_a_token_and_nobody_can_read_it() -> None:
    token = new_token()
    _, kind, rounds, salt, derived = mosquitto_hash(token).split("$")

    again = hashlib.pbkdf2_hmac("sha512", token.encode(), base64.b64decode(salt), int(rounds))
    assert (kind, base64.b64decode(derived)) == ("7", again)


@pytest.mark.parametrize(
    ("standing", "may_come_in", "is_in"),
    [
        (Standing("agent", "active", "active", "active"), True, True),
        (Standing("sensor", "active", None, "active"), True, True),
        (Standing("agent", "revoked", "revoked", "active"), True, False),
        (Standing("agent", "active", "disabled", "active"), False, False),
        (Standing("agent", "disabled", "active", "active"), False, False),
        (Standing("agent", "active", "active", "disabled"), False, False),
        (Standing("agent", "erased", "erased", "active"), False, False),
        (Standing("agent", "decommissioned", "active", "active"), False, False),
    ],
)
def test_who_may_come_in_and_who_is_in(standing: Standing, may_come_in: bool, is_in: bool) -> None:
    assert (standing.may_come_in, standing.is_in) == (may_come_in, is_in)


def test_a_guesser_waits_and_the_wait_ends() -> None:
    limit = Limit(3, every_s=10)
    for _ in range(3):
        assert limit.wait_s("a", 100) == 0
        limit.count("a", 100)

    assert limit.wait_s("a", 100) == pytest.approx(10)
    assert limit.wait_s("b", 100) == 0
    assert limit.wait_s("a", 110) == 0


def test_only_failures_count_against_an_address() -> None:
    gate = Gate(2)
    for _ in range(1000):
        with gate.attempt(0, ValueError, address="a", token="t"):
            pass
    for _ in range(2):
        with pytest.raises(ValueError), gate.attempt(0, ValueError, address="a", token="t"):
            raise ValueError

    with pytest.raises(TooMany, match="address"), gate.attempt(0, ValueError, address="a", token="t"):
        pass
    with gate.attempt(0, ValueError, address="b", token="t"):
        pass


def test_one_token_is_not_tried_from_many_addresses() -> None:
    gate = Gate(1000)
    for number in range(10):
        with pytest.raises(ValueError), gate.attempt(0, ValueError, address=f"a{number}", token="t"):
            raise ValueError

    with pytest.raises(TooMany, match="token"), gate.attempt(0, ValueError, address="new", token="t"):
        pass


def test_the_memory_of_failures_is_bounded() -> None:
    limit = Limit(1, every_s=1000)
    for number in range(30_000):
        limit.count(str(number), number / 1000)

    assert limit.kept <= 10_000
    assert limit.wait_s("29999", 30) > 0


def test_the_fifth_wrong_address_is_the_last() -> None:
    strikes = Strikes(5)

    assert [strikes.is_out(b"a") for _ in range(6)] == [False] * 4 + [True] * 2
    assert not strikes.is_out(b"b")


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        (None, "unknown"),
    ],
)
def test_a_customer_with_many_addresses_is_one(address: str | None, key: str) -> None:
    assert address_key(address) == key
