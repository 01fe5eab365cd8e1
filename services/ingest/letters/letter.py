"""What could not be used, as a person reads it and as it would be sent again. Pure."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError

from overwatt import topics
from overwatt.quantities import BY_NUMBER
from overwatt.reasons import Reason
from overwatt.v1.telemetry_pb2 import Batch, Block, Record
from services.ingest.model import Message
from services.ingest.rejections import MOST_PAYLOAD
from services.runtime.clock import from_us, to_us

MOST_ROWS: Final = 3
MOST_TEXT: Final = 4_000
ADVICE: Final = {
    Reason.PAYLOAD_TOO_LARGE: f"Send fewer samples in a message: JSON up to {topics.MAX_JSON_BYTES} bytes, a "
    f"batch up to {topics.MAX_BATCH_BYTES}.",
    Reason.BAD_TOPIC_FORMAT: "Publish on devices/<tenant>/<device>/telemetry.",
    Reason.ADDRESS_MISMATCH: "Correct tenant_id, device_id and site_id in the payload, or leave them out.",
    Reason.MALFORMED: 'Correct the named field; {"metrics": {"temp_c": 25.5}} is the smallest good message.',
    Reason.NOT_A_NUMBER: "Leave a metric out while it has no finite value.",
    Reason.TOO_MANY_METRICS: "Spread the metrics over several samples of the same time.",
    Reason.DEVICE_UNKNOWN: "Register the device, then replay; an agent sends again by itself.",
    Reason.DEVICE_REVOKED: "Enable the device if it should speak, then replay what is wanted of it.",
    Reason.DEVICE_ERASED: "Nothing: the device was erased, and nothing of it is kept.",
    Reason.ASSET_NOT_ALLOWED: "Assign the asset to this agent, then replay; the agent sends again by itself.",
    Reason.TIME_IN_FUTURE: "Set the device's clock. Replay when the time has come.",
    Reason.TIME_TOO_OLD: "Nothing: raw data this old are not kept any more.",
    Reason.CONFLICTING_SAMPLE: "Decide which value is right: the first one is stored and stays. A device "
    "that sends two values for one time needs times of its own for each.",
    Reason.RATE_LIMITED: "Send less often, or raise the quota; then replay.",
    Reason.UNSTORABLE: "Look at the database's message in the detail; replay when its cause is gone.",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """A row of `rejection`."""

    id: int
    at: datetime
    tenant: str
    device: str
    asset: str
    reason: str
    detail: str
    payload: bytes
    count: int
    topic: str
    """MQTT topic or HTTP path; empty: the writer refused it"""
    kafka: str = ""
    """partition and offset of the dead letter"""


Again: TypeAlias = Message | Record | str
"""How it would be sent again, or why it cannot be."""


def again(letter: Letter) -> Again:
    """What the gateway (a message) or the writer (a record) would be given once more."""
    if letter.count > 1:
        return f"it stands for {letter.count} messages that were counted and not kept"
    if not letter.payload:
        return "no payload was kept"
    if len(letter.payload) >= MOST_PAYLOAD:
        return f"only its first {MOST_PAYLOAD} bytes were kept"
    if letter.detail.startswith(f"Kafka topic {topics.TELEMETRY}:"):
        return _record(letter.payload) or "it is no record of this release"
    if letter.asset and letter.topic.startswith("/ingest/"):
        return f"it names {letter.asset!r}, which {letter.device} could not use: who sent it by HTTP was told"
    channel = letter.topic.rpartition("/")[2] if letter.topic.startswith("devices/") else "telemetry"
    if channel != "telemetry":
        return f"it is a {channel}: what an agent says so is said anew by itself"
    payload = letter.payload if letter.topic else _row_as_json(letter.payload)
    sender = letter.device if letter.topic else letter.asset or letter.device
    try:
        name = letter.topic if letter.topic.startswith("devices/") else _topic(letter.tenant, sender)
    except ValueError as error:
        return str(error)
    form = "" if _is_json(payload) else topics.PROTOBUF
    # Without a time of its own a sample has that of its first arrival: twice replayed is once stored.
    return Message(name, payload, form, to_us(letter.at))


def readable(payload: bytes) -> str:
    """JSON as it came, a batch as its first rows, anything else as bytes."""
    if _is_json(payload):
        try:
            return json.dumps(json.loads(payload), indent=2, ensure_ascii=False)[:MOST_TEXT]
        except (ValueError, RecursionError):
            return payload.decode(errors="backslashreplace")[:MOST_TEXT]
    try:
        batch = Batch.FromString(payload)
        if batch.epoch and batch.blocks:
            return json.dumps(_shown(batch), indent=2)[:MOST_TEXT]
    except DecodeError:
        pass
    return payload[:256].hex(" ", 2) + (" ..." if len(payload) > 256 else "")


def advice(letter: Letter) -> str:
    """What would be right."""
    return ADVICE.get(Reason(letter.reason), "") if letter.reason in set(Reason) else ""


def _topic(tenant: str, device: str) -> str:
    return topics.topic(tenant, device, "telemetry")


def _is_json(payload: bytes) -> bool:
    # A batch begins with the tag of its epoch, which is a tab to JSON.
    return payload[:1] != b"\t" and payload.lstrip()[:1] in (b"{", b"[")


def _record(payload: bytes) -> Record | None:
    try:
        return Record.FromString(payload)
    except DecodeError:
        return None


def _row_as_json(payload: bytes) -> bytes:
    """A row that the writer refused, as a device would send it."""
    try:
        row = json.loads(payload)
        return json.dumps({"ts": from_us(row["ts_us"]).isoformat(), "metrics": row["metrics"]}).encode()
    except (ValueError, KeyError, TypeError, OverflowError):
        return payload


def _shown(batch: Batch) -> dict[str, Any]:
    blocks = [_shown_block(batch, block) for block in batch.blocks]
    return {"epoch": batch.epoch, "first_seq": batch.first_seq, "blocks": blocks}


def _shown_block(batch: Batch, block: Block) -> dict[str, Any]:
    rows = len(block.ts_us) // 8
    shown = {
        "asset": block.asset,
        "rows": rows,
        "seq": [batch.first_seq + int(offset) for offset in _numbers(block.seq_offset, "<u4")],
        "ts": [_time(int(ts_us)) for ts_us in _numbers(block.ts_us, "<i8")],
    }
    for column in block.columns:
        name = BY_NUMBER[column.quantity].name if column.quantity in BY_NUMBER else column.metric
        values = _numbers(column.values, "<f8")
        shown[name or f"quantity {column.quantity}"] = [float(value) for value in values]
    return shown | ({"and": f"{rows - MOST_ROWS} rows more"} if rows > MOST_ROWS else {})


def _numbers(data: bytes, form: str) -> Any:
    """The first few; a piece at the end is left out."""
    size = np.dtype(form).itemsize
    return np.frombuffer(data[: min(len(data) // size, MOST_ROWS) * size], dtype=form)


def _time(ts_us: int) -> str:
    try:
        return from_us(ts_us).isoformat()
    except (ValueError, OverflowError):
        return f"{ts_us} us"
