"""Who is let in: tokens, and this machine."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx2
import jwt
import pytest

from services.api.app import make_app
from services.api.auth import Policy, Unknown, identify
from services.api.caller import Parts
from services.api.tokens import Identity, make_token, signing_key
from services.runtime.errors import Invalid

KEY = "k" * 64
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WHO = Identity("tenant-a", "user-1", "customer")
DEVELOPMENT = Policy(key=KEY, local_tenant="default")
PRODUCTION = Policy(key=KEY, local_tenant=None)
HERE = {"host": "127.0.0.1:3001"}


def ask(
    token: str | None = None,
    *,
    peer: str | None = "127.0.0.1",
    policy: Policy = DEVELOPMENT,
    now: datetime = NOW,
    **headers: str,
) -> Identity:
    given = {**HERE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    if token is not None:
        given["authorization"] = f"Bearer {token}"
    return identify(given, peer, policy, now=now)


def reason_of(*arguments: Any, **values: Any) -> str:
    with pytest.raises(Unknown) as refused:
        ask(*arguments, **values)
    return refused.value.reason


def signed(key: str = KEY, algorithm: str = "HS256", **claims: Any) -> str:
    whole = {"tenant": "tenant-a", "sub": "u", "role": "customer", "exp": NOW + timedelta(hours=1), **claims}
    return jwt.encode({k: v for k, v in whole.items() if v is not None}, key, algorithm=algorithm)


def test_a_token_says_tenant_user_and_role() -> None:  # U-P07
    token = make_token(KEY, WHO, now=NOW, ttl_s=3600)

    assert ask(token, peer="203.0.113.7") == WHO
    assert ask(token, peer="203.0.113.7", policy=PRODUCTION) == WHO


def test_a_token_ends_after_its_time() -> None:
    token = make_token(KEY, WHO, now=NOW, ttl_s=60)

    assert ask(token, now=NOW + timedelta(seconds=59)) == WHO
    assert reason_of(token, now=NOW + timedelta(seconds=60)) == "expired"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (signed(key="x" * 64), "signature"),
        (signed(algorithm="HS512"), "algorithm"),
        (signed(algorithm="none", key=""), "algorithm"),
        (signed(exp=None), "claims"),
        (signed(tenant=None), "claims"),
        (signed(tenant="a/b"), "claims"),
        (signed(tenant=["tenant-a"]), "claims"),
        (signed(role="root"), "claims"),
        (signed(role=["customer"]), "claims"),
        (signed(sub="\x00"), "claims"),
        (signed(sub=""), "claims"),
        (f"{signed()[:-4]}AAAA", "signature"),
        (signed()[:-4], "malformed"),
        ("x.y.z", "malformed"),
        ("", "scheme"),
        ("é", "malformed"),
    ],
)
def test_a_token_that_proves_nothing_is_refused_with_the_reasons_class_alone(
    token: str, reason: str
) -> None:  # U-P07
    with pytest.raises(Unknown) as refused:
        ask(token)

    assert refused.value.reason == reason
    assert not token or token not in str(refused.value)


def test_a_bad_token_from_this_machine_is_not_forgiven() -> None:
    assert reason_of(signed(key="x" * 64), peer="127.0.0.1") == "signature"
    assert reason_of(authorization="Basic dXNlcjpwYXNz") == "scheme"


def test_without_a_key_no_token_can_be_checked() -> None:
    assert reason_of(signed(), policy=Policy(key=None, local_tenant=None)) == "no key"


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_a_program_on_this_machine_is_the_default_tenant_without_a_token(peer: str) -> None:
    assert ask(peer=peer).tenant == "default"


@pytest.mark.parametrize("peer", ["192.168.1.5", "::ffff:10.0.0.1", "fe80::1", None, "testclient"])
def test_another_machine_needs_a_token(peer: str | None) -> None:
    assert reason_of(peer=peer) == "missing"


def test_production_needs_a_token_even_here() -> None:
    assert reason_of(policy=PRODUCTION) == "missing"


@pytest.mark.parametrize("header", ["x_forwarded_for", "forwarded", "x_real_ip", "via", "x_forwarded_host"])
def test_a_forwarding_header_takes_trust_away_and_never_gives_it(header: str) -> None:
    assert reason_of(peer="127.0.0.1", **{header: "127.0.0.1"}) == "missing"
    assert reason_of(peer="203.0.113.7", **{header: "127.0.0.1"}) == "missing"


def test_a_page_in_a_browser_here_is_not_a_program_of_ours() -> None:
    assert reason_of(host="evil.example:3001") == "missing"
    assert reason_of(origin="https://evil.example") == "missing"
    assert reason_of(origin="null") == "missing"
    assert ask(host="localhost:3001", origin="http://localhost:3000").tenant == "default"
    assert ask(host="[::1]:3001").tenant == "default"


@pytest.mark.parametrize(
    ("who", "ttl_s", "complaint"),
    [
        (Identity("Tenant", "u", "customer"), 60, "--tenant is 'Tenant'"),
        (Identity("t", "u", "root"), 60, "--role is 'root'; it must be one of customer"),
        (Identity("t", "", "customer"), 60, "--user is ''"),
        (WHO, 0, "--ttl is 0"),
        (WHO, 86_401, "--ttl is 86401"),
    ],
)
def test_a_token_that_would_be_refused_is_not_made(who: Identity, ttl_s: int, complaint: str) -> None:
    with pytest.raises(Invalid, match=complaint):
        make_token(KEY, who, now=NOW, ttl_s=ttl_s)


def test_the_development_key_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"

    first = signing_key(None, home, in_production=False)

    assert first
    assert len(first) >= 32
    assert (home / "token.key").stat().st_mode & 0o777 == 0o600
    assert signing_key(None, home, in_production=False) == first
    assert [each.name for each in home.iterdir()] == ["token.key"]


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    signing_key(None, tmp_path, in_production=False)
    (tmp_path / "token.key").chmod(0o644)

    with pytest.raises(SystemExit, match="chmod 600"):
        signing_key(None, tmp_path, in_production=False)


def test_production_has_the_key_that_it_is_given_and_no_other(tmp_path: Path) -> None:
    assert signing_key(None, tmp_path, in_production=True) is None
    assert signing_key(KEY, tmp_path, in_production=True) == KEY
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit, match="API_TOKEN_KEY is too short"):
        signing_key("short", tmp_path, in_production=True)


async def test_the_door_asks_who_is_there_by_the_sockets_address() -> None:
    nothing = cast(Any, None)
    parts = Parts(pool=nothing, controller=nothing, provisioning=nothing, policy=DEVELOPMENT)
    elsewhere = httpx2.ASGITransport(app=make_app(parts, []), client=("203.0.113.7", 40_000))

    async with httpx2.AsyncClient(transport=elsewhere, base_url="http://127.0.0.1:3001") as http:
        for headers in ({}, {"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}):
            answer = await http.get("/assets", headers=headers)
            assert (answer.status_code, answer.json()["field"]) == (401, "Authorization")
