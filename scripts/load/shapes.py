"""What one sender says: messages encoded once, in which only times and numbers change. Pure.

A sender is an agent with some devices, which take turns, or a simple device. Message `number` of a device
continues where its last one ended, so every (device, time) is its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

import numpy as np

from overwatt.quantities import QUANTITIES
from overwatt.topics import PROTOBUF
from overwatt.v1.telemetry_pb2 import Block, Column

LATE_US: Final = 3 * 3_600_000_000
"""Late means older than two hours."""
VARIANTS: Final = 32
"""Different sets of values."""


class Said(NamedTuple):
    """A message, and the samples in it."""

    payload: bytes
    content_type: str
    rows: int


class Speaker(Protocol):
    """Encodes what one sender says."""

    def say(self, number: int, *, is_late: bool = False) -> Said:
        """Its message `number`, from 0."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a message of a sender is."""

    name: str
    rows: int = 60
    points: int = 8
    """values in a sample"""
    form: str = "canonical"
    """canonical | narrow | json"""
    step_us: int = 1_000_000
    """between two samples of a device"""

    @property
    def is_agent(self) -> bool:
        """Whether it is acknowledged after the commit."""
        return self.form != "json"

    def speaker(self, devices: Sequence[str], epoch: int, start_us: int, seed: int = 0) -> Speaker:
        """For an agent of these devices, or a simple device (the first); times begin at `start_us`."""
        if self.form == "json":
            return _Json(self, start_us, seed)
        return _Agent(self, devices, epoch, start_us, seed)


SHAPES: Final = {
    shape.name: shape
    for shape in (
        Shape("batch"),
        Shape("narrow", form="narrow"),
        Shape("small", rows=10, points=4),
        Shape("json3", rows=1, points=3, form="json"),
        Shape("json6", rows=1, points=6, form="json"),
    )
}
"""By name: agents' batches of canonical quantities, of metrics of their own, small ones, simple devices."""


def with_step(shape: Shape, step_us: int) -> Shape:
    """The same with another time between two samples."""
    return replace(shape, step_us=step_us)


class _Agent:
    def __init__(self, shape: Shape, devices: Sequence[str], epoch: int, start_us: int, seed: int) -> None:
        self._shape = shape
        self._devices = devices
        self._epoch = b"\x09" + epoch.to_bytes(8, "little")
        self._start_us = start_us
        self._seconds = np.arange(shape.rows, dtype="<i8") * shape.step_us
        self._heads = [b"\x0a" + _sized(device.encode()) for device in devices]
        self._tails = _tails(shape)
        self._seed = seed

    def say(self, number: int, *, is_late: bool = False) -> Said:
        turn, device = divmod(number, len(self._devices))
        first_us = self._start_us + turn * self._shape.rows * self._shape.step_us - is_late * LATE_US
        times = (self._seconds + first_us).tobytes()
        tail = self._tails[(number + self._seed) % VARIANTS]
        block = b"".join((self._heads[device], b"\x12", _sized(times), tail))
        first_seq = b"\x10" + _varint(1 + number * self._shape.rows)
        return Said(b"".join((self._epoch, first_seq, b"\x1a", _sized(block))), PROTOBUF, self._shape.rows)


class _Json:
    def __init__(self, shape: Shape, start_us: int, seed: int) -> None:
        self._shape = shape
        self._start_us = start_us
        self._bodies = _bodies(shape)
        self._seed = seed

    def say(self, number: int, *, is_late: bool = False) -> Said:
        at_us = self._start_us + number * self._shape.step_us - is_late * LATE_US
        body = self._bodies[(number + self._seed) % VARIANTS]
        return Said(b'{"ts":%d.%06d,%s' % (*divmod(at_us, 1_000_000), body), "", 1)


@lru_cache
def _tails(shape: Shape) -> list[bytes]:
    """A block after its times: offsets and columns."""
    offsets = np.arange(shape.rows, dtype="<u4").tobytes()
    return [
        Block(
            seq_offset=offsets,
            columns=[
                Column(quantity=QUANTITIES[place].number, values=values)
                if shape.form == "canonical"
                else Column(metric=f"load_{place}", values=values)
                for place, values in enumerate(_values(shape, chance))
            ],
        ).SerializeToString()
        for chance in map(np.random.default_rng, range(VARIANTS))
    ]


def _values(shape: Shape, chance: np.random.Generator) -> list[bytes]:
    return [
        np.round(chance.normal(100, 10, size=shape.rows), 3).astype("<f8").tobytes()
        for _ in range(shape.points)
    ]


@lru_cache
def _bodies(shape: Shape) -> list[bytes]:
    names = [quantity.name for quantity in QUANTITIES[: shape.points]]
    bodies = []
    for chance in map(np.random.default_rng, range(VARIANTS)):
        values = np.round(chance.normal(100, 10, size=shape.points), 3).tolist()
        pairs = ",".join(f'"{name}":{value}' for name, value in zip(names, values, strict=True))
        bodies.append(f'"metrics":{{{pairs}}}}}'.encode())
    return bodies


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data
