"""Talks to the device. Everything that can be decided without it stands in `codec`."""

from edge_agent.drivers import REVERT_S, Wanted, always, number, text, whole
from edge_agent.drivers.blueprint.codec import values_of
from edge_agent.drivers.blueprint.points import COUNT, FIRST
from edge_agent.drivers.modbus import Connection
from edge_agent.errors import Invalid, Unavailable
from edge_agent.model import Reading
from overwatt.inventory import Asset


class BlueprintDriver:
    """One thermometer. No I/O here: the agent starts also when the device is away."""

    def __init__(self, asset: Asset) -> None:
        self._connection = Connection(
            text(asset, "host"),
            whole(asset, "port", 502),
            whole(asset, "unit", 1),
            number(asset, "timeout_s", 3.0),
        )

    async def read(self) -> Reading:
        if not self._connection.is_open:
            await self._connection.open()
        values = values_of(await self._connection.read(FIRST, COUNT))
        if not values:
            raise Unavailable(f"{self._connection.address} has no values")
        return Reading(values)

    async def set_power(self, power_w: float, is_wanted: Wanted = always, revert_s: int = REVERT_S) -> None:
        raise Invalid("a thermometer has no power to set")

    async def release(self) -> None:
        """It was never held."""

    async def close(self) -> None:
        self._connection.close()
