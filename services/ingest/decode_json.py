"""A simple device's JSON: the fast way when it is right, and a slow look at what is wrong when it is not."""

import json
import math
import re
from datetime import datetime
from typing import Any, Final

import msgspec

from overwatt.quantities import BY_NAME, MAX_METRIC_NAME
from overwatt.reasons import Reason
from services.ingest.model import Member, Message, Rejected, Sample, Samples
from services.ingest.ranges import LARGEST, Ranges
from services.runtime.clock import to_us

METRIC: Final = re.compile(rf"[a-z][a-z0-9_]{{0,{MAX_METRIC_NAME - 1}}}")
MOST_METRICS: Final = 64
"""Of one sample."""
MOST_SECONDS: Final = 253_402_300_799
"""The end of the year 9999."""


class _Wire(msgspec.Struct, gc=False):
    metrics: dict[str, float]
    ts: float | str | None = None
    seq: int | None = None
    # Needed by nobody: who speaks is known by the topic. Who says so all the same may not contradict it.
    tenant_id: Any = None
    device_id: Any = None
    site_id: Any = None


class _Numbered(msgspec.Struct, gc=False):
    seq: int | None = None


class _Wrong(Exception):
    """Reason and detail."""


_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
_wire: Final = msgspec.json.Decoder(_Wire | list[_Wire])
_numbered: Final = msgspec.json.Decoder(_Numbered | list[_Numbered])


def decode(message: Message, member: Member) -> Samples | Rejected:
    """Rows of this device, or why not: the whole message counts or none of it."""
    try:
        try:
            decoded = _wire.decode(message.payload)
        except _UNREADABLE as error:
            raise _explain(message.payload, error) from None
        wires = decoded if isinstance(decoded, list) else [decoded]
        if not wires:
            raise _Wrong(Reason.MALFORMED, "an empty list; it must hold at least one sample")
        # Samples without a time of their own are kept apart by a microsecond each.
        samples = tuple(_sample(wire, member, message.received_at_us + i) for i, wire in enumerate(wires))
    except _Wrong as wrong:
        reason, detail = wrong.args
        return Rejected(
            tenant=member.tenant,
            device=member.device,
            reason=reason,
            detail=detail,
            topic=message.topic,
            payload=message.payload,
            refused=seqs(message.payload),
        )
    return Samples(member, samples)


def seqs(payload: bytes) -> Ranges:
    """The sequence numbers that a message carries, as far as they can be read."""
    try:
        decoded = _numbered.decode(payload)
    except _UNREADABLE:
        decoded = _loosely(payload)
    each = decoded if isinstance(decoded, list) else [decoded]
    return [(one.seq, one.seq) for one in each if one.seq is not None and 0 < one.seq <= LARGEST]


def _loosely(payload: bytes) -> list[_Numbered]:
    """JSON as Python reads it, which knows NaN."""
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return []
    items = document if isinstance(document, list) else [document]
    return [_Numbered(item["seq"]) for item in items if isinstance(item, dict) and _is_int(item.get("seq"))]


def _sample(wire: _Wire, member: Member, arrived_at_us: int) -> Sample:
    if wire.tenant_id is not None or wire.device_id is not None or wire.site_id is not None:
        _check_address(wire, member)
    if not wire.metrics:
        raise _Wrong(Reason.MALFORMED, 'metrics is empty; {"metrics": {"temp_c": 25.5}} would be right')
    if len(wire.metrics) > MOST_METRICS:
        raise _Wrong(
            Reason.TOO_MANY_METRICS, f"{len(wire.metrics)} metrics in one sample; at most {MOST_METRICS}"
        )
    for name, value in wire.metrics.items():
        if name not in BY_NAME:
            _check_name(name)
        if not math.isfinite(value):
            raise _Wrong(Reason.NOT_A_NUMBER, f"metrics.{name} is {value}; it must be a finite number")
    if wire.seq is not None and not 0 < wire.seq <= LARGEST:
        raise _Wrong(Reason.MALFORMED, f"seq is {wire.seq}; it must be a positive integer below 2^63")
    return Sample(_time_us(wire.ts, arrived_at_us), wire.seq or 0, wire.metrics)


def _check_address(wire: _Wire, member: Member) -> None:
    for field, said, own in (
        ("tenant_id", wire.tenant_id, member.tenant),
        ("device_id", wire.device_id, member.device),
        ("site_id", wire.site_id, member.site),
    ):
        if said is not None and said != own and own:
            raise _Wrong(
                Reason.ADDRESS_MISMATCH,
                f"{field} is {repr(said)[:60]}, but this device's is {own!r}; correct it, or leave it out",
            )


def _check_name(name: str) -> None:
    if METRIC.fullmatch(name) is None:
        raise _Wrong(
            Reason.MALFORMED, f"metrics.{name[:80]!r}: a name must match [a-z][a-z0-9_]*, at most 64 long"
        )


def _time_us(ts: float | str | None, arrived_at_us: int) -> int:
    if ts is None:
        return arrived_at_us
    if isinstance(ts, str):
        try:
            at = datetime.fromisoformat(ts)
            if at.tzinfo is None:
                raise _Wrong(Reason.MALFORMED, f"ts {ts[:40]!r} has no offset from UTC; append Z")
            return to_us(at)
        except (ValueError, OverflowError):
            raise _Wrong(
                Reason.MALFORMED, f"ts {ts[:40]!r} is no ISO 8601 time such as 2026-05-01T12:00:00Z"
            ) from None
    if not 0 <= ts <= MOST_SECONDS:
        raise _Wrong(
            Reason.MALFORMED, f"ts is {ts:g}; as a number it must be seconds since 1970, not milliseconds"
        )
    return round(ts * 1_000_000)


def _explain(payload: bytes, error: Exception) -> _Wrong:
    """What is wrong with a message that the fast way does not take, naming the field."""
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as no_json:
        return _Wrong(Reason.MALFORMED, f"not JSON: {no_json}")
    for item in document if isinstance(document, list) else [document]:
        if wrong := _wrong_with(item):
            return wrong
    return _Wrong(Reason.MALFORMED, str(error))


def _wrong_with(item: Any) -> _Wrong | None:
    metrics = item.get("metrics") if isinstance(item, dict) else None
    if not isinstance(metrics, dict):
        return _Wrong(Reason.MALFORMED, 'no object "metrics"; {"metrics": {"temp_c": 25.5}} would be right')
    for name, value in metrics.items():
        shown = repr(value)[:60] if not isinstance(value, int) or abs(value) < 1e60 else "a huge integer"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return _Wrong(Reason.MALFORMED, f"metrics.{name[:80]} is {shown}; it must be a number")
        if not _is_finite(value):
            return _Wrong(Reason.NOT_A_NUMBER, f"metrics.{name[:80]} is {shown}; it must be a finite number")
    ts, seq = item.get("ts"), item.get("seq")
    if isinstance(ts, bool) or not isinstance(ts, int | float | str | None):
        return _Wrong(Reason.MALFORMED, f"ts is {repr(ts)[:60]}; it must be a string or a number")
    if seq is not None and not _is_int(seq):
        return _Wrong(Reason.MALFORMED, f"seq is {repr(seq)[:60]}; it must be a positive integer")
    return None


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
