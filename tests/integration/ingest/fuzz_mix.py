"""A mix of good and hostile messages, and what has to come of it: rows, and rejections by device and reason.

Pure, and the same for the same seed. What is expected is known from how a message was made, never asked
of the code that is tested; of messages with bytes flipped at random only this is expected: that every one is
either taken or refused.
"""

import json
import random
import struct
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from overwatt.topics import PROTOBUF
from overwatt.v1.registry_pb2 import Device
from overwatt.v1.telemetry_pb2 import Batch, Block, Column

TENANT: Final = "fuzz"
GOOD_SHARE: Final = 0.5
EPOCH: Final = 7


@dataclass(frozen=True, slots=True)
class Shot:
    """A message on its way."""

    topic: str
    payload: bytes
    content_type: str = ""


@dataclass
class Expected:
    """What has to be in the database at the end."""

    rows: Counter[str] = field(default_factory=Counter)
    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    rejected: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """by tenant, device and reason"""
    messages: int = 0
    mutants: int = 0


class Mix:
    """Draws messages; `base_us` is a time that is neither late nor in the future."""

    def __init__(self, seed: int, base_us: int) -> None:
        self.expected = Expected()
        self._chance = random.Random(seed)
        self._base_us = base_us
        self._count: Counter[str] = Counter()
        self._seq: Counter[str] = Counter()
        self._hostile: list[Callable[[], Shot]] = [
            *(partial(self._refused, "MALFORMED", document) for document in MALFORMED),
            *(partial(self._refused, "NOT_A_NUMBER", document) for document in INFINITE),
            *(partial(self._bad_block, reason, change) for reason, change in BLOCKS),
            *(partial(self._bad_batch, change) for change in BATCHES),
            self._truncated_json, self._truncated_batch, self._noise, self._wrong_content_type,
            self._huge_json, self._huge_batch, self._too_many_metrics, self._foreign_address,
            self._in_the_future, self._ancient, self._contrary, self._stranger, self._foreign_tenant,
            self._disabled, self._erased, self._bad_topic, self._word, self._mutant, self._mutant,
            self._newer_schema, self._twice, self._double_key,
        ]  # fmt: skip

    def draw(self) -> Shot:
        """The next one."""
        self.expected.messages += 1
        if self._chance.random() < GOOD_SHARE:
            return self._good() if self._chance.random() < 0.7 else self._good_batch()
        return self._chance.choice(self._hostile)()

    # Good ones.

    def _good(self) -> Shot:
        device = f"good-{self._chance.randrange(10)}"
        ts_us, value = self._stored(device)
        return _said(device, {"metrics": {"temp_c": value}, "ts": ts_us / 1e6})

    def _good_batch(self) -> Shot:
        agent = f"agent-{self._chance.randrange(3)}"
        batch = self._batch(agent, f"{agent}-meter", is_stored=True)
        return _sent(agent, batch)

    def _newer_schema(self) -> Shot:
        """Fields that this release does not know are passed over."""
        shot = self._good_batch()
        return Shot(shot.topic, shot.payload + b"\xfa\x3f\x04next", shot.content_type)

    def _twice(self) -> Shot:
        shot = self._good()
        # A list of the same sample twice is one row.
        return Shot(shot.topic, b"[" + shot.payload + b"," + shot.payload + b"]")

    def _double_key(self) -> Shot:
        device = "good-0"
        ts_us, value = self._stored(device)
        return _said(device, f'{{"metrics":{{"temp_c":-1,"temp_c":{value}}},"ts":{ts_us / 1e6!r}}}')

    # Hostile JSON.

    def _refused(self, reason: str, document: str | object, device: str = "") -> Shot:
        device = device or f"bad-{self._chance.randrange(5)}"
        self.expected.rejected[TENANT, device, reason] += 1
        return _said(device, document)

    def _truncated_json(self) -> Shot:
        whole = json.dumps({"metrics": {"temp_c": 25.5}, "ts": "2026-05-01T12:00:00Z"})
        return self._refused("MALFORMED", whole[: self._chance.randrange(len(whole))])

    def _noise(self) -> Shot:
        device = f"bad-{self._chance.randrange(5)}"
        self.expected.rejected[TENANT, device, "MALFORMED"] += 1
        noise = b"\0" + self._chance.randbytes(self._chance.randrange(300))
        return Shot(f"devices/{TENANT}/{device}/telemetry", noise, self._chance.choice(["", PROTOBUF]))

    def _wrong_content_type(self) -> Shot:
        self.expected.rejected[TENANT, "bad-0", "MALFORMED"] += 1
        return Shot(f"devices/{TENANT}/bad-0/telemetry", b'{"metrics":{"temp_c":1}}', PROTOBUF)

    def _huge_json(self) -> Shot:
        padding = "x" * self._chance.choice([17_000, 60_000])
        return self._refused("PAYLOAD_TOO_LARGE", {"metrics": {"temp_c": 1}, "padding": padding})

    def _too_many_metrics(self) -> Shot:
        return self._refused("TOO_MANY_METRICS", {"metrics": {f"m{i}": 1 for i in range(65)}})

    def _foreign_address(self) -> Shot:
        claim = self._chance.choice([{"tenant_id": "other"}, {"device_id": "good-1"}, {"site_id": "other"}])
        return self._refused("ADDRESS_MISMATCH", {"metrics": {"temp_c": 1}, **claim})

    def _in_the_future(self) -> Shot:
        rows = self._chance.randrange(1, 4)
        self.expected.rejected[TENANT, "bad-0", "TIME_IN_FUTURE"] += rows
        ahead = self._base_us / 1e6 + self._chance.choice([86_400, 10**9])
        return _said("bad-0", [{"metrics": {"temp_c": 1}, "ts": ahead + i} for i in range(rows)])

    def _ancient(self) -> Shot:
        return self._refused("TIME_TOO_OLD", {"metrics": {"temp_c": 1}, "ts": self._chance.random() * 1e8})

    def _contrary(self) -> Shot:
        """Always the same time, always another value: the first stays."""
        self._count["contrary"] += 1
        if self._count["contrary"] == 1:
            self.expected.rows["contrary"], self.expected.sums["contrary"] = 1, 1.0
        else:
            self.expected.rejected[TENANT, "contrary", "CONFLICTING_SAMPLE"] += 1
        value = self._count["contrary"]
        return _said("contrary", {"metrics": {"temp_c": value}, "ts": self._base_us / 1e6})

    # Who does not belong.

    def _stranger(self) -> Shot:
        if self._chance.random() < 0.5:
            return self._refused("DEVICE_UNKNOWN", {"metrics": {"temp_c": 1}}, "stranger")
        self.expected.rejected[TENANT, "stranger", "DEVICE_UNKNOWN"] += 1
        return _sent("stranger", self._batch("stranger", ""))

    def _foreign_tenant(self) -> Shot:
        self.expected.rejected["other", "good-1", "DEVICE_UNKNOWN"] += 1
        return Shot("devices/other/good-1/telemetry", b'{"metrics":{"temp_c":1}}')

    def _disabled(self) -> Shot:
        return self._refused("DEVICE_REVOKED", {"metrics": {"temp_c": 1}}, "disabled")

    def _erased(self) -> Shot:
        self.expected.rejected[TENANT, "", "DEVICE_ERASED"] += 1
        return _said("erased", {"metrics": {"temp_c": 1}})

    def _bad_topic(self) -> Shot:
        self.expected.rejected["", "", "BAD_TOPIC_FORMAT"] += 1
        name = self._chance.choice(["Fuzz/good-1", "fuzz/Good 1", "fuzz/" + "x" * 37, "$x/y", "fuzz/ü"])
        return Shot(f"devices/{name}/telemetry", b'{"metrics":{"temp_c":1}}')

    def _word(self) -> Shot:
        device, channel = "bad-0", self._chance.choice(["status", "reply", "event"])
        self.expected.rejected[TENANT, device, "MALFORMED"] += 1
        return Shot(
            f"devices/{TENANT}/{device}/{channel}", b"\x0a\xff" + self._chance.randbytes(20), PROTOBUF
        )

    # Hostile batches.

    def _truncated_batch(self) -> Shot:
        self.expected.rejected[TENANT, "bad-agent", "MALFORMED"] += 1
        shot = _sent("bad-agent", self._batch("bad-agent", ""))
        return Shot(shot.topic, shot.payload[: -self._chance.randrange(1, 20)], PROTOBUF)

    def _huge_batch(self) -> Shot:
        self.expected.rejected[TENANT, "bad-agent", "PAYLOAD_TOO_LARGE"] += 1
        return _sent("bad-agent", self._batch("bad-agent", "", rows=4_000))

    def _bad_batch(self, change: Callable[[Batch], None]) -> Shot:
        self.expected.rejected[TENANT, "bad-agent", "MALFORMED"] += 1
        batch = self._batch("bad-agent", "")
        change(batch)
        return _sent("bad-agent", batch)

    def _bad_block(self, reason: str, change: Callable[[Block], int]) -> Shot:
        """Beside a good block, which lands."""
        agent = f"agent-{self._chance.randrange(3)}"
        batch = self._batch(agent, f"{agent}-meter", is_stored=True)
        bad = self._batch(agent, f"{agent}-meter").blocks[0]
        offset = len(batch.blocks[0].ts_us) // 8
        rows = len(bad.ts_us) // 8
        bad.seq_offset = struct.pack(f"<{rows}I", *range(offset, offset + rows))
        self._seq[agent] += rows
        self.expected.rejected[TENANT, agent, reason] += change(bad)
        batch.blocks.append(bad)
        return _sent(agent, batch)

    def _mutant(self) -> Shot:
        self.expected.mutants += 1
        if self._chance.random() < 0.5:
            sample = {"metrics": {"temp_c": 25.5, "x": 1}, "ts": self._base_us / 1e6, "seq": 5}
            shot = _said("mutant", [sample, sample])
        else:
            shot = _sent("mutant", self._batch("mutant", ""))
        payload = bytearray(shot.payload)
        for _ in range(self._chance.randrange(1, 5)):
            payload[self._chance.randrange(len(payload))] = self._chance.randrange(256)
        return Shot(shot.topic, bytes(payload), shot.content_type)

    def _stored(self, device: str) -> tuple[int, float]:
        """Time and value of the next sample that has to be stored."""
        self._count[device] += 1
        number = self._count[device]
        self.expected.rows[device] += 1
        self.expected.sums[device] += number
        return self._base_us + number * 1_000, float(number)

    def _batch(self, agent: str, asset: str, *, rows: int = 0, is_stored: bool = False) -> Batch:
        rows = rows or self._chance.randrange(1, 8)
        samples = [self._stored(asset) if is_stored else (self._base_us + i, 1.0) for i in range(rows)]
        first_seq = self._seq[agent] + 1
        self._seq[agent] += rows
        block = Block(
            asset=asset,
            ts_us=struct.pack(f"<{rows}q", *(ts_us for ts_us, _ in samples)),
            seq_offset=struct.pack(f"<{rows}I", *range(rows)),
            columns=[
                Column(quantity=QUANTITY, values=struct.pack(f"<{rows}d", *(value for _, value in samples)))
            ],
        )
        return Batch(epoch=EPOCH, first_seq=first_seq, blocks=[block])


def devices() -> list[Device]:
    """Who is registered; the key of a device is its place."""
    agents = [
        Device(device=f"agent-{n}", type="agent", assets=[f"agent-{n}-meter", "ghost", "disabled"])
        for n in range(3)
    ]
    known = [
        *(Device(device=f"good-{n}", site="site-1") for n in range(10)),
        *(Device(device=f"bad-{n}", site="site-1") for n in range(5)),
        *agents,
        *(Device(device=f"agent-{n}-meter") for n in range(3)),
        Device(device="bad-agent", type="agent"),
        Device(device="mutant", type="agent"),
        Device(device="contrary"),
        Device(device="disabled", state="disabled"),
        Device(device="erased", state="erased"),
    ]
    for place, device in enumerate(known, 1_001):
        device.tenant, device.device_key, device.state = TENANT, place, device.state or "active"
    return known


def _said(device: str, document: str | object) -> Shot:
    text = document if isinstance(document, str) else json.dumps(document)
    return Shot(f"devices/{TENANT}/{device}/telemetry", text.encode())


def _sent(device: str, batch: Batch) -> Shot:
    return Shot(f"devices/{TENANT}/{device}/telemetry", batch.SerializeToString(), PROTOBUF)


QUANTITY: Final = 10
MALFORMED: Final = (
    "", "null", "[]", "{}", "7", '"metrics"', '{"temp_c": 1}', "[" * 8_000, '{"metrics":' * 1_400,
    '{"metrics":{"a":' + "[" * 4_000 + "]" * 4_000 + "}}",
    '{"metrics":{}}', '{"metrics":[1]}', '{"metrics":null}', '{"metrics":{"\\ud800":"x"}}',
    '{"metrics":{"temp_c":true}}', '{"metrics":{"temp_c":"1"}}', '{"metrics":{"temp_c":null}}',
    '{"metrics":{"temp_c":{"value":1}}}', '{"metrics":{"temp\\u0000c":1}}', '{"metrics":{"\\ud800":1}}',
    '{"metrics":{"Temp C":1}}', '{"metrics":{"' + "a" * 65 + '":1}}', '{"metrics":{"a":1},"ts":"yesterday"}',
    '{"metrics":{"a":1},"ts":"2026-05-01T12:00:00"}', '{"metrics":{"a":1},"ts":1777636800000}',
    '{"metrics":{"a":1},"ts":-1}', '{"metrics":{"a":1},"ts":[]}', '{"metrics":{"a":1},"ts":"\\u0000"}',
    '{"metrics":{"a":1},"seq":-1}', '{"metrics":{"a":1},"seq":18446744073709551615}',
    '{"metrics":{"a":1},"seq":1.5}', '{"metrics":{"a":1}} trailing',
    '[{"metrics":{"a":1}},{"metrics":{"a":"x"}}]',
)  # fmt: skip
INFINITE: Final = (
    '{"metrics":{"temp_c":NaN}}', '{"metrics":{"temp_c":-Infinity}}', '{"metrics":{"temp_c":1e999}}',
    '{"metrics":{"temp_c":1' + "0" * 400 + "}}",
)  # fmt: skip


def _set(count: Callable[[int], int] = lambda _: 1, **changes: Any) -> Callable[[Block], int]:
    def change(block: Block) -> int:
        rows = len(block.ts_us) // 8
        for name, value in changes.items():
            made = value(rows) if callable(value) else value
            if name == "columns":
                del block.columns[:]
                block.columns.extend(made)
            else:
                setattr(block, name, made)
        return count(rows)

    return change


def _rows(rows: int) -> int:
    return rows


def _column(rows: int, value: float = 1.0, **fields: Any) -> Column:
    return Column(values=struct.pack("<d", value) * rows, **(fields or {"quantity": QUANTITY}))


BLOCKS: Final[tuple[tuple[str, Callable[[Block], int]], ...]] = (
    ("MALFORMED", _set(ts_us=b"")),
    ("MALFORMED", _set(ts_us=lambda rows: bytes(8 * rows - 1))),
    ("MALFORMED", _set(seq_offset=lambda rows: bytes(4 * rows + 4))),
    ("MALFORMED", _set(quality=lambda rows: b"\xff" * rows)),
    ("MALFORMED", _set(columns=lambda rows: [_column(rows + 1)])),
    ("MALFORMED", _set(columns=lambda rows: [_column(rows)] * 2)),
    ("MALFORMED", _set(columns=lambda rows: [_column(rows, quantity=4_000_000_000)])),
    ("MALFORMED", _set(columns=lambda rows: [_column(rows, metric="\0")])),
    ("MALFORMED", _set(device_key=1_001)),
    ("MALFORMED", _set(device_keys=lambda rows: bytes(4 * rows))),
    ("ASSET_NOT_ALLOWED", _set(asset="good-1")),
    ("ASSET_NOT_ALLOWED", _set(asset="\0" * 4_000)),
    ("DEVICE_UNKNOWN", _set(asset="ghost")),
    ("DEVICE_REVOKED", _set(asset="disabled")),
    ("NOT_A_NUMBER", _set(_rows, columns=lambda rows: [_column(rows, float("inf"))])),
    ("NOT_A_NUMBER", _set(_rows, columns=lambda rows: [_column(rows, float("-inf"), metric="x")])),
    ("TIME_TOO_OLD", _set(_rows, ts_us=lambda rows: struct.pack(f"<{rows}q", *range(rows)))),
    ("TIME_TOO_OLD", _set(_rows, ts_us=lambda rows: struct.pack("<q", -(2**63)) * rows)),
    ("TIME_IN_FUTURE", _set(_rows, ts_us=lambda rows: struct.pack("<q", 2**63 - 1) * rows)),
)


def _empty(batch: Batch) -> None:
    del batch.blocks[:]


def _epoch(value: int) -> Callable[[Batch], None]:
    return lambda batch: setattr(batch, "epoch", value)


def _first_seq(value: int) -> Callable[[Batch], None]:
    return lambda batch: setattr(batch, "first_seq", value)


BATCHES: Final = (_empty, _epoch(0), _epoch(2**63), _epoch(2**64 - 1), _first_seq(0), _first_seq(2**64 - 1))
