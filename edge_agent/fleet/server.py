"""Serves one model device over Modbus TCP, and misbehaves on demand.

Everything between bringing the site to now and copying the registers runs without an await, so each
request sees values and scale factors of one instant.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final, cast

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.fleet.device import Device
from edge_agent.fleet.registers import IllegalAddress, IllegalValue, Name
from edge_agent.fleet.site import SiteModel

REGISTER_FUNCTIONS: Final = (3, 4, 6, 16, 22, 23)
"""Function codes that read and write registers; there are no coils."""


@dataclass(slots=True)
class Faults:
    """What is wrong with a device just now; a test sets and clears it."""

    is_silent: bool = False
    """accepts connections and requests, answers and obeys nothing"""
    delay_s: float = 0.0
    """answers that much later"""
    ignores_writes: bool = False
    """confirms writes and does nothing"""
    blanked: set[Name] = field(default_factory=set)
    """points that read as not implemented"""


class ServedDevice:
    """A device at its port."""

    def __init__(self, device: Device, site: SiteModel, *, host: str, port: int, unit: int = 1) -> None:
        self.device = device
        self.faults = Faults()
        self.host = host
        self.port = port
        """0 becomes a free one at the first start"""
        self.unit = unit
        self._site = site
        self._server: ModbusTcpServer | None = None

    async def start(self) -> None:
        """Listens; raises OSError when the port is taken."""
        registers = self.device.registers
        block = SimData(registers.base, values=list(registers.image), datatype=DataType.REGISTERS)
        server = ModbusTcpServer(
            SimDevice(self.unit, [block], action=self._serve),
            address=(self.host, self.port),
            trace_packet=self._trace_packet,
        )
        try:
            await server.serve_forever(background=True)
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on {self.host}:{self.port} for asset {self.device.asset.id}: "
                "the port is taken or the address is not this machine's; choose another port or host"
            ) from error
        self._server = server
        self.port = cast(asyncio.Server, server.transport).sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes the port and every connection; the model lives on and can be started again."""
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]
            self._server = None

    def advance(self) -> Device:
        """The device as it stands now, without a request."""
        self._site.advance()
        return self.device

    async def _serve(
        self,
        function_code: int,
        start_address: int,
        address: int,
        count: int,
        current_registers: list[int],
        set_values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        if self.faults.delay_s:
            await asyncio.sleep(self.faults.delay_s)
        if function_code not in REGISTER_FUNCTIONS:
            return ExcCodes.ILLEGAL_FUNCTION
        self._site.advance()
        if set_values is not None:
            return self._write(address, [int(value) for value in set_values])
        self.device.refresh()
        image = self.device.registers.image_without(self.faults.blanked)
        current_registers[: len(image)] = image
        return None

    def _write(self, address: int, values: list[int]) -> ExcCodes | None:
        if self.faults.ignores_writes or self.faults.is_silent:
            return None
        try:
            self.device.written(self.device.registers.write(address, values))
        except IllegalAddress:
            return ExcCodes.ILLEGAL_ADDRESS
        except IllegalValue:
            return ExcCodes.ILLEGAL_VALUE
        return None

    def _trace_packet(self, is_sending: bool, packet: bytes) -> bytes:
        """Swallows the answer of a silent device; the request itself must pass, or it would pile up."""
        return b"" if is_sending and self.faults.is_silent else packet
