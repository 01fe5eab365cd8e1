"""What a telemetry record says: who was heard, and series of instants and values of the watched metrics."""

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from overwatt.quantities import BY_NUMBER, Quality
from overwatt.v1 import telemetry_pb2
from services.escalation.model import Key
from services.escalation.rules import Flags, Instants, Values

Rows: TypeAlias = NDArray[np.intp]


class Series(NamedTuple):
    """Samples of one metric of one device."""

    device_key: int
    metric: str
    ts_us: Instants
    values: Values


def senders(record: telemetry_pb2.Record) -> Iterator[Key]:
    """Who was heard by this record: an agent, or the simple devices whose rows it carries."""
    if record.device:
        yield record.tenant, record.device
    for identity in record.identities:
        yield identity.tenant, identity.device


def series(
    record: telemetry_pb2.Record, watched: Callable[[int], Collection[str]], oldest_us: int
) -> Iterator[Series]:
    """Usable samples from `oldest_us` on of the watched metrics. Raises ValueError for a torn block."""
    for block in record.blocks:
        ts_us = np.frombuffer(block.ts_us, "<i8")
        usable = ts_us >= oldest_us
        if block.quality:
            usable &= np.frombuffer(block.quality, "u1") != Quality.BAD
        for device_key, rows in _devices(block, usable):
            metrics = watched(device_key)
            for column in block.columns if metrics else ():
                metric = _name(column)
                if metric in metrics:
                    values = np.frombuffer(column.values, "<f8")
                    yield Series(device_key, metric, ts_us[rows], values[rows])


def _devices(block: telemetry_pb2.Block, usable: Flags) -> Iterator[tuple[int, Rows]]:
    rows = np.flatnonzero(usable)
    if not len(rows):
        return
    if not block.device_keys:
        yield block.device_key, rows
        return
    keys = np.frombuffer(block.device_keys, "<u4")[rows]
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    for key, of_one in zip(found, np.split(rows[order], starts[1:]), strict=True):
        yield int(key), of_one


def _name(column: telemetry_pb2.Column) -> str:
    if not column.quantity:
        return column.metric
    quantity = BY_NUMBER.get(column.quantity)
    return quantity.name if quantity else ""
