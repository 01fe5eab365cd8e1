"""What the demo has seen, and whether it was enough: values only, no connections."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

FOLLOWED: Final = frozenset({"verified"})


@dataclass(frozen=True, slots=True)
class AssetView:
    """One line of the asset table."""

    asset_id: str
    name: str
    type: str
    site_id: str
    active_power_w: float | None
    soc_pct: float | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class ShareView:
    """One asset's part of a dispatch, and what it was measured at since."""

    asset_id: str
    power_mw: float
    measured_mw: float | None


@dataclass(frozen=True, slots=True)
class DispatchView:
    """The last dispatch."""

    target: str
    mw: float
    state: str
    shares: tuple[ShareView, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class AlertView:
    """One open alert."""

    severity: int
    device_id: str
    summary: str
    opened_at: str


@dataclass(frozen=True, slots=True)
class BoxView:
    """One box: whether it is in, and what may be done to it."""

    box_id: str
    state: str
    mode: str
    mode_since: datetime
    enrolled_at: datetime | None
    certificate_until: datetime | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the view shows, read at one moment."""

    at: datetime
    samples_stored: int
    samples_per_s: float
    assets: tuple[AssetView, ...] = ()
    agents: tuple[str, ...] = ()
    boxes: tuple[BoxView, ...] = ()
    dispatch: DispatchView | None = None
    alerts: tuple[AlertView, ...] = ()
    pages: int = 0
    problems: tuple[str, ...] = ()

    def has_heard(self, asset_ids: Collection[str], since: datetime) -> bool:
        """Whether each of them was measured in this run; the database remembers earlier ones."""
        heard = {asset.asset_id for asset in self.assets if asset.at is not None and asset.at >= since}
        return set(asset_ids) <= heard


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the demo did its job, in sentences."""

    boxes_enrolled: bool
    telemetry_stored: bool
    dispatch_followed: bool
    alert_reached_webhook: bool

    @property
    def passed(self) -> bool:
        """All four."""
        return all(
            (self.boxes_enrolled, self.telemetry_stored, self.dispatch_followed, self.alert_reached_webhook)
        )

    def lines(self) -> Sequence[str]:
        """One line a claim."""
        claims = (
            (self.boxes_enrolled, "every box came in with a certificate of its own"),
            (self.telemetry_stored, "telemetry of every asset was stored"),
            (self.dispatch_followed, "a site dispatch was followed by the batteries' measured power"),
            (self.alert_reached_webhook, "an alert reached the webhook, with a valid signature"),
        )
        return [f"{'ok  ' if holds else 'FAIL'} {claim}" for holds, claim in claims]


def judge(
    snapshot: Snapshot, *, has_heard: bool, site_dispatches: Sequence[DispatchView], verified_pages: int
) -> Verdict:
    """The verdict over a whole run; `site_dispatches` are all that were sent to a site, in any state."""
    return Verdict(
        boxes_enrolled=bool(snapshot.boxes) and all(_is_in(box, snapshot.at) for box in snapshot.boxes),
        telemetry_stored=snapshot.samples_stored > 0 and has_heard,
        dispatch_followed=any(_followed(dispatch) for dispatch in site_dispatches),
        alert_reached_webhook=verified_pages > 0,
    )


def _is_in(box: BoxView, now: datetime) -> bool:
    return (
        box.state == "active"
        and box.enrolled_at is not None
        and box.certificate_until is not None
        and box.certificate_until > now
    )


def _followed(dispatch: DispatchView) -> bool:
    """Verified, and the measured power is there to see and within 5 % (0.05 MW at least) of each share."""
    return (
        dispatch.state in FOLLOWED
        and bool(dispatch.shares)
        and all(
            share.measured_mw is not None
            and abs(share.measured_mw - share.power_mw) <= max(0.05 * abs(share.power_mw), 0.05)
            for share in dispatch.shares
        )
    )
