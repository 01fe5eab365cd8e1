"""The agent's own words on MQTT: status and events, as protobuf."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from edge_agent.commands import Mode
from edge_agent.model import SpoolState
from edge_agent.settings import Settings
from overwatt.inventory import Asset
from overwatt.v1.agent_pb2 import AssetInfo, Config, Event, EvictedRange, Spool, SpoolEpoch, Status

FEATURES: Final = ("spool", "dispatch", "verify", "observe", "deadman")


def agent_version() -> str:
    try:
        return version("overwatt")
    except PackageNotFoundError:
        return "0"


def birth(
    settings: Settings, *, boot_id: str, at_us: int, asked_us: int, mode: Mode, spool: SpoolState
) -> bytes:
    """The registration: who this is and what the spool holds."""
    return Status(
        kind=Status.BIRTH,
        at_us=at_us,
        boot_id=boot_id,
        version=agent_version(),
        features=FEATURES,
        assets=[_info(asset) for asset in settings.assets],
        spool_epochs=[SpoolEpoch(epoch=epoch, lowest_seq=seq) for epoch, seq in spool.lowest.items()],
        spool=_spool(spool),
        site=settings.site,
        site_name=settings.site_name,
        agent_mode=settings.mode,
        mode_epoch=mode.epoch,
        asked_us=asked_us,
    ).SerializeToString()


def alive(
    settings: Settings, *, boot_id: str, at_us: int, asked_us: int, mode: Mode, spool: SpoolState
) -> bytes:
    """The heartbeat, with the declared loss."""
    return Status(
        kind=Status.ALIVE,
        at_us=at_us,
        boot_id=boot_id,
        spool=_spool(spool),
        site=settings.site,
        agent_mode=settings.mode,
        mode_epoch=mode.epoch,
        asked_us=asked_us,
    ).SerializeToString()


def gone(settings: Settings, *, boot_id: str, at_us: int) -> bytes:
    """The last will, and what a stopped agent says."""
    return Status(kind=Status.GONE, at_us=at_us, boot_id=boot_id, site=settings.site).SerializeToString()


def event(*, at_us: int, asset: str, kind: str, severity: str, message: str) -> bytes:
    return Event(
        at_us=at_us, asset=asset, type=kind, severity=severity, code=kind.upper(), message=message
    ).SerializeToString()


def mode_of(config: Config) -> Mode:
    return Mode(config.mode, config.mode_epoch, frozenset(config.opt_ins))


def _spool(state: SpoolState) -> Spool:
    return Spool(
        rows=state.rows,
        bytes=state.bytes,
        evicted_rows=state.evicted_rows,
        evicted=[
            EvictedRange(epoch=each.epoch, first_seq=each.first_seq, last_seq=each.last_seq)
            for each in state.evicted
        ],
    )


def _info(asset: Asset) -> AssetInfo:
    return AssetInfo(
        id=asset.id,
        name=asset.name,
        type=asset.type,
        capacity_mwh=asset.capacity_mwh,
        max_mw=asset.max_mw,
        min_mw=asset.min_mw,
        efficiency=asset.efficiency,
        ramp_rate_mw_per_min=asset.ramp_rate_mw_per_min or 0.0,
        location=asset.location,
    )
