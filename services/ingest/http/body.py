"""What a batch says and what is answered. Pure; nothing that a stranger sends raises more than Invalid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from overwatt.reasons import MAX_AHEAD_S, RETRY_AFTER_S, Reason, is_final
from overwatt.topics import is_device
from services.runtime.errors import Invalid

MOST_ITEMS: Final = 100
MOST_EXTERNAL_ID: Final = 128

SENTENCES: Final = {
    Reason.TIME_TOO_OLD: "ts is older than raw data are kept",
    Reason.TIME_IN_FUTURE: f"ts is more than {MAX_AHEAD_S} s ahead of the server; set the clock, or wait",
    Reason.CONFLICTING_SAMPLE: "another value is stored for this device and ts: the first one stays",
    Reason.UNSTORABLE: "the database refused this sample alone; the table rejection says more",
    Reason.DEVICE_ERASED: "the device was erased",
}
"""For reasons that the writer finds: it tells the word alone."""


class _Batch(msgspec.Struct, gc=False):
    messages: list[msgspec.Raw]


class _Named(msgspec.Struct, gc=False):
    device_id: str | None = None
    external_id: str | None = None


_batch: Final = msgspec.json.Decoder(_Batch)
_named: Final = msgspec.json.Decoder(_Named)


@dataclass(frozen=True, slots=True)
class Item:
    """A sample of a batch, not looked at yet, and whose it is; neither name: the sender's own."""

    payload: bytes
    device_id: str = ""
    external_id: str = ""
    wrong: str = ""
    """why its names cannot be used"""

    @property
    def name(self) -> str:
        """As the caller wrote it."""
        return f"external_id {self.external_id!r}" if self.external_id else f"device_id {self.device_id!r}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a sample; no reason: it is committed."""

    reason: Reason | None = None
    detail: str = ""

    @classmethod
    def of_writer(cls, reason: Reason | None) -> "Verdict":
        """With a sentence of ours."""
        return cls(reason, SENTENCES.get(reason, "") if reason else "")


def items_of(body: bytes) -> list[Item]:
    """The items of a batch. Raises Invalid where it is none."""
    try:
        messages = _batch.decode(body).messages
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Invalid(f'body: {error}; {{"messages": [{{"metrics": {{...}}}}]}} would be right') from None
    if not 0 < len(messages) <= MOST_ITEMS:
        raise Invalid(f"messages has {len(messages)} items; a batch must have 1 to {MOST_ITEMS}")
    return [_item(bytes(raw)) for raw in messages]


def _item(payload: bytes) -> Item:
    try:
        named = _named.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Item(payload, wrong=f"{error}; an item must be an object with metrics")
    device_id, external_id = named.device_id or "", named.external_id or ""
    if device_id and external_id:
        return Item(payload, wrong="device_id and external_id are both given; one of them names the device")
    if device_id and not is_device(device_id):
        return Item(
            payload, wrong=f"device_id {device_id[:60]!r}: small letters, digits, - and _, at most 36"
        )
    if len(external_id) > MOST_EXTERNAL_ID or not external_id.isprintable():
        return Item(payload, wrong=f"external_id {external_id[:60]!r}: at most 128 printable characters")
    return Item(payload, device_id, external_id)


def answer_of(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The body of an answer; what is accepted and what is rejected add up to what was sent."""
    rejected = sum(verdict.reason is not None for verdict in verdicts)
    return {
        "accepted": len(verdicts) - rejected,
        "rejected": rejected,
        "results": [_result(index, verdict) for index, verdict in enumerate(verdicts)],
    }


def _result(index: int, verdict: Verdict) -> dict[str, Any]:
    if verdict.reason is None:
        return {"index": index, "status": "accepted"}
    return {
        "index": index,
        "status": "rejected",
        "reason": verdict.reason,
        "detail": verdict.detail,
        "final": is_final(verdict.reason),
        "retry_after_s": RETRY_AFTER_S.get(verdict.reason, 0),
    }


def schema(*, batch: bool) -> dict[str, Any]:
    """The request body as OpenAPI describes it."""
    number, text = {"type": "number"}, {"type": "string"}
    sample: dict[str, Any] = {
        "type": "object",
        "required": ["metrics"],
        "properties": {
            "metrics": {"type": "object", "minProperties": 1, "additionalProperties": number},
            "ts": {"anyOf": [{"type": "string", "format": "date-time"}, number]},
        },
    }
    if batch:
        sample["properties"] |= {"device_id": text, "external_id": {**text, "maxLength": MOST_EXTERNAL_ID}}
        messages = {"type": "array", "minItems": 1, "maxItems": MOST_ITEMS, "items": sample}
        sample = {"type": "object", "required": ["messages"], "properties": {"messages": messages}}
    else:
        sample = {"anyOf": [sample, {"type": "array", "minItems": 1, "items": sample}]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": sample}}}}
