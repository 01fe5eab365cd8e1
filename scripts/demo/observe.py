"""What an operator could see of the platform right now, asked of its API as an operator would."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from scripts.demo.facts import AlertView, AssetView, BoxView, DispatchView, ShareView, Snapshot

TIMEOUT_S: Final = 5.0
STORED: Final = "select count(*) from telemetry"


class Observer:
    """Takes snapshots; the rate is over the time between two of them."""

    def __init__(self, api_url: str, database_url: str, pages: Callable[[], int]) -> None:
        self._api_url = api_url
        self._database_url = database_url
        self._pages = pages
        self._last: tuple[float, int] | None = None

    async def snapshot(self, problems: list[str]) -> Snapshot:
        """One look. What does not answer becomes a line in `problems`, and the rest is still shown."""
        stored = await self._stored(problems)
        rate = self._rate(stored)
        assets = self._ask("/assets", problems) or []
        return Snapshot(
            at=datetime.now(UTC),
            samples_stored=stored,
            samples_per_s=rate,
            assets=tuple(self._asset(asset, problems) for asset in assets),
            agents=tuple(agent["agent_id"] for agent in self._ask("/agents", problems) or []),
            boxes=tuple(_box(box) for box in self._ask("/admin/boxes", problems) or []),
            dispatch=next(iter(self.dispatches(problems)), None),
            alerts=tuple(_alert(alert) for alert in self._ask("/alerts", problems) or []),
            pages=self._pages(),
            problems=tuple(dict.fromkeys(problems)),
        )

    def dispatches(self, problems: list[str]) -> list[DispatchView]:
        """Newest first."""
        return [_dispatch(row) for row in self._ask("/dispatch/history", problems) or []]

    def dispatch(self, site_id: str, mw: float, problems: list[str]) -> bool:
        """POST one; whether it was accepted."""
        request = urllib.request.Request(
            f"{self._api_url}/dispatch",
            json.dumps({"site_id": site_id, "mw": mw}).encode(),
            {"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                answer.read()
        except (OSError, urllib.error.URLError) as error:
            problems.append(f"dispatch of {mw:g} MW to {site_id}: {error}")
            return False
        return True

    async def _stored(self, problems: list[str]) -> int:
        try:
            connection = await asyncpg.connect(self._database_url, timeout=TIMEOUT_S)
            try:
                return int(await connection.fetchval(STORED))
            finally:
                await connection.close()
        except (OSError, asyncpg.PostgresError) as error:
            problems.append(f"PostgreSQL: {error}")
            return self._last[1] if self._last else 0

    def _rate(self, stored: int) -> float:
        now_s, last = time.monotonic(), self._last
        self._last = (now_s, stored)
        return (stored - last[1]) / (now_s - last[0]) if last and now_s > last[0] else 0.0

    def _asset(self, asset: dict[str, Any], problems: list[str]) -> AssetView:
        latest = self._ask(f"/telemetry/{asset['asset_id']}", problems) or {}
        values = latest.get("values") or {}
        at = latest.get("at")
        return AssetView(
            asset_id=asset["asset_id"],
            name=asset["name"],
            type=asset["type"],
            site_id=asset["site_id"],
            active_power_w=values.get("active_power_w"),
            soc_pct=values.get("soc_pct"),
            at=_time(at),
        )

    def _ask(self, path: str, problems: list[str]) -> Any:
        try:
            with urllib.request.urlopen(self._api_url + path, timeout=TIMEOUT_S) as answer:
                return json.loads(answer.read())
        except (OSError, urllib.error.URLError) as error:
            if not (isinstance(error, urllib.error.HTTPError) and error.code == 404):
                problems.append(f"API {path}: {error}")
            return None


def _box(row: dict[str, Any]) -> BoxView:
    return BoxView(
        box_id=row["box_id"],
        state=row["state"],
        mode=row["mode"],
        mode_since=datetime.fromisoformat(row["mode_changed_at"]),
        enrolled_at=_time(row["enrolled_at"]),
        certificate_until=_time(row["certificate_ends_at"]),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _dispatch(row: dict[str, Any]) -> DispatchView:
    return DispatchView(
        target=row.get("asset_id") or row.get("site_id") or "",
        mw=row["mw"],
        state=row["state"],
        shares=tuple(ShareView(s["asset_id"], s["mw"], s.get("measured")) for s in row["allocations"]),
        reason=row.get("reason") or "",
    )


def _alert(row: dict[str, Any]) -> AlertView:
    return AlertView(row["severity"], row["device_id"] or "", row["summary"], row["opened_at"])
