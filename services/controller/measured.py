"""The newest state of charge and power of each asset, from the telemetry stream.

Only the last row of a block is looked at, and without numpy: the split preview needs two numbers an asset.
After a start nothing is known until the next sample, and what is unknown limits nothing.
"""

import math
import struct
from typing import Final

from overwatt.quantities import BY_NAME
from overwatt.v1.telemetry_pb2 import Block, Record
from services.controller.model import Measured

MAX_AGE_US: Final = 90_000_000
"""Older than a device may be silent: not knowledge any more."""
_SOC: Final = BY_NAME["soc_pct"].number
_POWER: Final = BY_NAME["active_power_w"].number
_INT64: Final = struct.Struct("<q")
_DOUBLE: Final = struct.Struct("<d")
_W_PER_MW: Final = 1e6


class Latest:
    """The newest value per asset and quantity."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, int], tuple[int, float]] = {}

    def take(self, record: Record) -> None:
        """Learn from an agent's batch; a block that cannot be read teaches nothing."""
        for block in record.blocks:
            if block.asset and len(block.ts_us) >= _INT64.size:
                self._take_last_row(record.tenant, block)

    def of(self, tenant_id: str, asset_id: str, now_us: int) -> Measured:
        """What is known about an asset and not too old."""
        power_w = self._recent(tenant_id, asset_id, _POWER, now_us)
        return Measured(
            soc_pct=self._recent(tenant_id, asset_id, _SOC, now_us),
            power_mw=None if power_w is None else power_w / _W_PER_MW,
        )

    def _take_last_row(self, tenant_id: str, block: Block) -> None:
        (ts_us,) = _INT64.unpack_from(block.ts_us, len(block.ts_us) - _INT64.size)
        for column in block.columns:
            if column.quantity not in (_SOC, _POWER) or len(column.values) < _DOUBLE.size:
                continue
            (value,) = _DOUBLE.unpack_from(column.values, len(column.values) - _DOUBLE.size)
            key = (tenant_id, block.asset, column.quantity)
            known = self._values.get(key)
            # A backlog comes after live samples: older values never replace newer ones.
            if math.isfinite(value) and (known is None or known[0] < ts_us):
                self._values[key] = (ts_us, value)

    def _recent(self, tenant_id: str, asset_id: str, quantity: int, now_us: int) -> float | None:
        known = self._values.get((tenant_id, asset_id, quantity))
        return known[1] if known and abs(now_us - known[0]) <= MAX_AGE_US else None
