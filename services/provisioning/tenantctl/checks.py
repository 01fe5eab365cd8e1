"""What can be checked of a tenant: `health` looks, `smoke` tries (C-007). Ok, failed or not configured.

gateway         the api is ready, and an agent of the tenant spoke within 90 s (X3)
telegram echo   a message to the tenant's chat comes back as it was sent
twilio call     a call to the test number is accepted
morning brief   the daily brief is made, and sent to nobody (dry run)
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal
from uuid import uuid4

import httpx2

from services.provisioning.tenant_setup.integrations import INTEGRATIONS
from services.provisioning.tenant_setup.schemas import Check

STALE_S: Final = 90.0
REMIND_DAYS: Final = 30
EXPIRES: Final = "_EXPIRES"
SPOKEN: Final = "<Response><Say>This is a test call of your energy platform. Good bye.</Say></Response>"

Setup = Mapping[str, Any]
Secrets = Mapping[str, str]


def is_ready(http: httpx2.Client, name: str, url: str) -> Check:
    """Whether /health/ready of a service says so."""
    try:
        answer = http.get(f"{url}/health/ready")
    except httpx2.TransportError as error:
        return _failed(name, f"{url} does not answer ({type(error).__name__}); is it started?")
    if answer.is_success:
        return _ok(name, f"{url} is ready")
    return _failed(name, f"{url}/health/ready answered {answer.status_code}: {answer.text[:200]}")


def state(setup: Setup) -> Check:
    """Whether the tenant is in use."""
    is_active = setup["state"] == "active"
    return Check(name="tenant", result="ok" if is_active else "failed", detail=f"is {setup['state']}")


def agents(setup: Setup, now: datetime) -> Check:
    """Whether somebody of the tenant's boxes speaks."""
    if not setup["boxes"]:
        return Check(name="agents", result="not configured", detail="the tenant has no box yet")
    seen = setup["last_seen_at"]
    if seen is None:
        return _failed("agents", f"{setup['boxes']} box(es), and none ever spoke; was it enrolled?")
    silent_s = (now - datetime.fromisoformat(seen)).total_seconds()
    detail = f"{setup['agents_connected']} of {setup['boxes']} connected, last heard {silent_s:.0f} s ago"
    return _ok("agents", detail) if silent_s <= STALE_S else _failed("agents", detail)


def secrets(values: Secrets | None, required: Sequence[str], today: date) -> Check:
    """Whether all are there and none is over; one that will be soon is named (U-C06)."""
    if values is None:
        return _failed("secrets", "the tenant has no directory here; `tenantctl render` makes it")
    if missing := [name for name in required if not values.get(name)]:
        return _failed("secrets", f"missing: {', '.join(missing)}; `tenantctl secrets set` takes them")
    ends = {
        name: date.fromisoformat(values[name + EXPIRES]) for name in required if values.get(name + EXPIRES)
    }
    if over := [name for name, day in ends.items() if day <= today]:
        return _failed("secrets", f"expired: {', '.join(over)}")
    soon = [f"{name} on {day}" for name, day in ends.items() if day - today <= timedelta(days=REMIND_DAYS)]
    reminder = f"; expiring soon: {', '.join(soon)}" if soon else ""
    return _ok("secrets", f"{len(required)} required, all there{reminder}")


def gateway(http: httpx2.Client, api_url: str, setup: Setup, now: datetime) -> Check:
    """The way in: the operators' door, and an agent behind it if there is one."""
    door, heard = is_ready(http, "gateway", api_url), agents(setup, now)
    if door.result == "failed" or heard.result == "failed":
        return _failed("gateway", "; ".join(each.detail for each in (door, heard) if each.result == "failed"))
    return _ok("gateway", f"{door.detail}; {heard.detail}")


def telegram_echo(http: httpx2.Client, url: str, values: Secrets) -> Check:
    """A message to the tenant's chat comes back as it was sent."""
    name = "telegram echo"
    if lacking := _lacking("telegram", values):
        return _not_configured(name, lacking)
    text = f"overwatt smoke test {uuid4().hex[:8]}"
    # The token is part of the address, so no address and no error text may be shown.
    try:
        answer = http.post(
            f"{url}/bot{values['TELEGRAM_BOT_TOKEN']}/sendMessage",
            json={"chat_id": values["TELEGRAM_CHAT_ID"], "text": text},
        )
    except httpx2.TransportError as error:
        return _failed(name, f"the Bot API does not answer ({type(error).__name__})")
    said = _json(answer)
    if not answer.is_success:
        return _failed(name, f"the Bot API answered {answer.status_code}: {_redacted(said, values)}")
    result = said.get("result")
    if not isinstance(result, dict) or result.get("text") != text:
        return _failed(name, "the message did not come back as it was sent")
    return _ok(name, f"message {result.get('message_id')} came back as it was sent")


def twilio_call(http: httpx2.Client, url: str, values: Secrets) -> Check:
    """A call to the test number is accepted."""
    name = "twilio call"
    if lacking := _lacking("twilio", values):
        return _not_configured(name, lacking)
    sid = values["TWILIO_ACCOUNT_SID"]
    try:
        answer = http.post(
            f"{url}/2010-04-01/Accounts/{sid}/Calls.json",
            data={"From": values["TWILIO_FROM"], "To": values["TWILIO_TEST_TO"], "Twiml": SPOKEN},
            auth=(sid, values["TWILIO_AUTH_TOKEN"]),
        )
    except httpx2.TransportError as error:
        return _failed(name, f"Twilio does not answer ({type(error).__name__})")
    said = _json(answer)
    if not answer.is_success:
        return _failed(name, f"Twilio answered {answer.status_code}: {_redacted(said, values)}")
    return _ok(name, f"the test call is {said.get('status', 'accepted')}")


def morning_brief(setup: Setup, now: datetime) -> Check:
    """The daily brief is made from what is known of the tenant, and sent to nobody."""
    return _ok("morning brief", f"dry run, sent to nobody: {brief(setup, now)!r}")


def brief(setup: Setup, now: datetime) -> str:
    """What the people of a tenant would read in the morning."""
    return (
        f"Good morning {setup['name']}, {now:%d %B %Y}: {setup['boxes']} box(es), "
        f"{setup['agents_connected']} connected; {setup['devices']} device(s); "
        f"{setup['open_alerts'] or 'no'} open alert(s)."
    )


def _lacking(integration: str, values: Secrets) -> list[str]:
    return [name for name in INTEGRATIONS[integration] if not values.get(name)]


def _json(answer: httpx2.Response) -> dict[str, Any]:
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _redacted(said: Mapping[str, Any], values: Secrets) -> str:
    text = str(said.get("description") or said.get("message") or "no reason given")
    for secret in filter(None, values.values()):
        text = text.replace(secret, "***") if len(secret) > 7 else text
    return text[:200]


def _ok(name: str, detail: str) -> Check:
    return _check(name, "ok", detail)


def _failed(name: str, detail: str) -> Check:
    return _check(name, "failed", detail)


def _not_configured(name: str, lacking: Sequence[str]) -> Check:
    return _check(name, "not configured", f"needs {', '.join(lacking)}")


def _check(name: str, result: Literal["ok", "failed", "not configured"], detail: str) -> Check:
    printable = "".join(each if each.isprintable() else " " for each in detail)
    return Check(name=name, result=result, detail=printable[:200])
