"""The demo's verdict and its on-call person: it must be able to say no."""

import json
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from standardwebhooks import Webhook

from scripts.demo.facts import AssetView, BoxView, DispatchView, ShareView, Snapshot, Verdict, judge
from scripts.demo.sink import Sink
from scripts.demo.view import power, render

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BEGUN = NOW - timedelta(minutes=2)
ASSET = AssetView("park-bess-1", "Park BESS 1", "battery", "park", 7.2e6, 49.9, NOW)
FOLLOWED = DispatchView("park", 12.0, "verified", (ShareView("park-bess-1", 7.2, 7.19),), "")
BOX = BoxView("park", "active", "active", BEGUN, BEGUN, NOW + timedelta(days=90))
SEEN = Snapshot(NOW, 1000, 12.5, (ASSET,), ("park",), (BOX,), FOLLOWED, pages=1)


def test_a_run_that_did_everything_passes() -> None:
    assert verdict(SEEN, [FOLLOWED], 1).passed


def verdict(snapshot: Snapshot, dispatches: list[DispatchView], pages: int) -> Verdict:
    heard = snapshot.has_heard(["park-bess-1"], BEGUN)
    return judge(snapshot, has_heard=heard, site_dispatches=dispatches, verified_pages=pages)


@pytest.mark.parametrize(
    ("snapshot", "dispatches", "pages"),
    [
        (replace(SEEN, samples_stored=0), [FOLLOWED], 1),
        (replace(SEEN, assets=(replace(ASSET, at=None),)), [FOLLOWED], 1),
        (replace(SEEN, assets=(replace(ASSET, at=BEGUN - timedelta(hours=1)),)), [FOLLOWED], 1),
        (replace(SEEN, assets=()), [FOLLOWED], 1),
        (SEEN, [], 1),
        (SEEN, [replace(FOLLOWED, state="applied")], 1),
        (SEEN, [replace(FOLLOWED, shares=(ShareView("park-bess-1", 7.2, None),))], 1),
        (SEEN, [replace(FOLLOWED, shares=(ShareView("park-bess-1", 7.2, 5.0),))], 1),
        (SEEN, [FOLLOWED], 0),
        (replace(SEEN, boxes=()), [FOLLOWED], 1),
        (replace(SEEN, boxes=(replace(BOX, enrolled_at=None),)), [FOLLOWED], 1),
        (replace(SEEN, boxes=(replace(BOX, state="revoked"),)), [FOLLOWED], 1),
        (replace(SEEN, boxes=(BOX, replace(BOX, certificate_until=NOW))), [FOLLOWED], 1),
    ],
    ids=[
        "nothing stored",
        "an asset is silent",
        "an asset spoke in an earlier run only",
        "an asset is gone",
        "no dispatch",
        "not verified",
        "not measured",
        "off by 2 MW",
        "no page",
        "no box",
        "a box is not enrolled",
        "a box is revoked",
        "a certificate has expired",
    ],
)
def test_a_run_that_missed_one_thing_fails(
    snapshot: Snapshot, dispatches: list[DispatchView], pages: int
) -> None:
    assert not verdict(snapshot, dispatches, pages).passed


def test_the_receiver_counts_a_signed_page_once_and_refuses_any_other() -> None:
    secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    body = json.dumps({"type": "alert.opened"})
    signature = Webhook(secret).sign("dlv_1", NOW, body)
    good = {
        "webhook-id": "dlv_1",
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": signature,
    }

    with Sink("127.0.0.1", 0) as sink:
        sink.secrets.append(secret)
        assert _post(sink.url, body, good) == 204
        assert _post(sink.url, body, good) == 204
        assert _post(sink.url, body + " ", good) == 401

        assert list(sink.pages.by_id) == ["dlv_1"]
        assert sink.pages.refused == 1


def test_the_view_shows_power_with_its_sign_and_the_split_beside_the_measurement() -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(SEEN, title="test", addresses=[("API", "http://127.0.0.1:3001/docs")]))
    text = console.export_text()
    for piece in ("+7.20 MW", "+7.19 MW", "49.9 %", "verified", "http://127.0.0.1:3001/docs"):
        assert piece in text
    assert [power(None), power(-1500), power(12)] == ["-", "-1.50 kW", "+12 W"]


def _post(url: str, body: str, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, body.encode(), headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
