"""Whom to tell, when to try again, and what the command line accepts. Runs alone: no service (P-036)."""

import json
from uuid import UUID

import pytest

from services.escalation import cli
from services.escalation.backoff import Retries
from services.escalation.deliver import outcome
from services.escalation.escalate import decide
from services.escalation.model import EVENT_SEVERITIES, SEVERITIES, Alert, Comparison
from services.escalation.notifiers import GaveUp, Retry, Sent
from services.escalation.settings import Settings
from services.runtime.errors import Invalid

NOW = "2026-03-29T01:00:00.000Z"
ONE, TWO = UUID(int=1), UUID(int=2)


def an_alert(**changes: object) -> Alert:
    values: dict[str, object] = {
        "alert_id": UUID(int=9),
        "tenant_id": "tenant-a",
        "fingerprint": "rule:bat-1",
        "rule_id": UUID(int=8),
        "device_id": "bat-1",
        "site_id": "site-1",
        "box_id": "site-1",
        "severity": 3,
        "status": "OPEN",
        "summary": "bat-1: soc_pct 8 % < 10 %",
        "details": {"value": 8.0},
        "opened_at": NOW,
        "closed_at": None,
        "epoch": 0,
        "escalation_level": 0,
        **changes,
    }
    return Alert(**values)  # type: ignore[arg-type]


def test_an_open_alert_is_told_to_every_channel_of_its_tenant() -> None:
    decision = decide(an_alert(), [TWO, ONE], told=[], now=NOW)

    assert [page.channel_id for page in decision.pages] == [ONE, TWO]
    assert decision.level == 1
    body = json.loads(decision.pages[0].payload)
    assert body["type"] == "alert.opened"
    assert body["data"]["dedup_key"] == "rule:bat-1"
    assert (body["data"]["severity"], body["data"]["severity_label"]) == (3, "HIGH")


def test_pages_of_one_alert_have_different_and_repeatable_names() -> None:
    first = decide(an_alert(), [ONE, TWO], told=[], now=NOW)
    again = decide(an_alert(), [ONE, TWO], told=[], now="2026-03-29T02:00:00.000Z")
    reopened = decide(an_alert(epoch=1), [ONE, TWO], told=[], now=NOW)

    assert len({page.idem for page in first.pages}) == 2
    assert [page.idem for page in first.pages] == [page.idem for page in again.pages]
    assert {page.idem for page in first.pages}.isdisjoint(page.idem for page in reopened.pages)


def test_without_a_channel_the_level_is_not_reached_so_that_the_first_channel_still_hears_of_it() -> None:
    decision = decide(an_alert(), [], told=[], now=NOW)

    assert decision.pages == ()
    assert decision.level == 0


def test_a_closed_alert_is_told_to_those_who_were_told_of_it_and_to_nobody_else() -> None:
    closed = an_alert(status="CLOSED", closed_at=NOW, escalation_level=1)
    decision = decide(closed, [ONE, TWO], told=[TWO], now=NOW)

    assert [page.channel_id for page in decision.pages] == [TWO]
    assert json.loads(decision.pages[0].payload)["type"] == "alert.closed"


def test_an_acknowledged_alert_pages_nobody() -> None:
    assert decide(an_alert(status="ACKNOWLEDGED"), [ONE], told=[], now=NOW).pages == ()


def test_severity_four_is_worst_and_devices_words_map_onto_it() -> None:  # U-P16, X12
    assert SEVERITIES == {1: "LOW", 2: "MEDIUM", 3: "HIGH", 4: "CRITICAL"}
    assert EVENT_SEVERITIES == {"info": 1, "warning": 2, "alarm": 3, "critical": 4}


def test_a_failing_webhook_is_tried_after_30_60_120_and_240_seconds_and_then_given_up() -> None:
    # P-049, P-050
    retries = Settings(_env_file=None).retries  # type: ignore[call-arg]

    ends = [outcome(Retry("http_500", status=500), attempts, retries) for attempts in range(1, 6)]

    assert [end.delay_s for end in ends[:4]] == [30, 60, 120, 240]
    assert [end.status for end in ends] == ["pending"] * 4 + ["failed"]


def test_a_delay_never_exceeds_two_hours() -> None:  # U-P09
    assert Retries(max_attempts=100).next_delay_s(50) == 7_200
    assert Retries().next_delay_s(1, asked_s=1_000_000) == 7_200


def test_retry_after_lengthens_a_delay_and_never_shortens_it() -> None:
    assert Retries().next_delay_s(1, asked_s=45) == 45
    assert Retries().next_delay_s(3, asked_s=45) == 120


def test_what_was_sent_is_delivered_and_what_will_never_work_is_failed_at_once() -> None:
    assert outcome(Sent(200), 1, Retries()).status == "delivered"
    assert outcome(GaveUp("gone", 410, disable=True), 1, Retries()).status == "failed"


def test_the_defaults_are_those_that_operators_know() -> None:  # P-049, P-050, P-051
    settings = Settings(_env_file=None)  # type: ignore[call-arg]

    assert settings.worker_max_attempts == 5
    assert settings.worker_backoff_base_seconds == 30
    assert settings.worker_timeout_seconds == 30
    assert settings.heartbeat_stale_seconds == 90
    assert settings.lease_s > settings.worker_timeout_seconds


def arguments(text: str) -> list[str]:
    return ["rule", "add", "--tenant", "tenant-a", *text.split()]


def test_a_rule_of_the_command_line_says_what_it_does_in_its_name() -> None:
    wanted = cli.read(arguments("--metric soc_pct --comparison LT --threshold 10 --clear 15 --for 60"))
    rule = cli.rule_of(wanted)

    assert rule.name == "soc_pct < 10 %"
    assert (rule.comparison, rule.threshold, rule.clear_threshold, rule.for_s) == (Comparison.LT, 10, 15, 60)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("--metric soc_pct --comparison LT", "--threshold"),
        ("--metric soc_pct --comparison LT --threshold 10 --clear 5", "--clear"),
        ("--metric temp_c --comparison GT --threshold 10 --clear 15", "--clear"),
        ("--metric temp_c --comparison GT --threshold nan", "--threshold"),
        ("--metric Temp --comparison GT --threshold 1", "--metric"),
        ("--metric temp_c --comparison GT --threshold 1 --for -5", "--for"),
        ("--metric temp_c --comparison GT --threshold 1 --device a/b", "--device"),
        ("--kind no_heartbeat --metric temp_c", "--metric"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_and_names_the_option(text: str, named: str) -> None:
    with pytest.raises(Invalid, match=named):
        cli.rule_of(cli.read(arguments(text)))
