"""A Modbus TCP connection that speaks in registers, and turns pymodbus' errors into our two words.

pymodbus changes its interface with every middle number, so nothing else may import it.
"""

import asyncio
from collections.abc import Sequence

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from edge_agent.errors import Invalid, Unavailable

NOT_THERE = (1, 2)
"""Exception codes: illegal function, illegal address."""


class NoSuchRegisters(Invalid):
    """The device answered that there is nothing at this address."""


class Connection:
    """Connects when it is used, and again after any failure."""

    def __init__(self, host: str, port: int, unit: int, timeout_s: float) -> None:
        self.address = f"{host}:{port} unit {unit}"
        self._unit = unit
        self._timeout_s = timeout_s
        # reconnect_delay 0: no second reconnecting beside ours.
        self._client = AsyncModbusTcpClient(
            host, port=port, timeout=timeout_s, retries=0, reconnect_delay=0, reconnect_delay_max=0
        )

    @property
    def is_open(self) -> bool:
        return bool(self._client.connected)

    async def open(self) -> None:
        """Raises Unavailable."""
        try:
            async with asyncio.timeout(self._timeout_s + 1):
                is_open = await self._client.connect()
        except (OSError, ModbusException, TimeoutError) as error:
            raise Unavailable(f"cannot connect to {self.address}: {error}") from error
        if not is_open:
            raise Unavailable(f"cannot connect to {self.address}: refused or no answer")

    async def read(self, address: int, count: int) -> list[int]:
        """Raises Unavailable, or NoSuchRegisters where the device says so."""
        what = f"read registers {address}-{address + count - 1} of {self.address}"
        try:
            answer = await self._client.read_holding_registers(address, count=count, device_id=self._unit)
        except (ModbusException, OSError, TimeoutError) as error:
            self.close()
            raise Unavailable(f"{what}: {error}") from error
        self._check(answer, what)
        if len(answer.registers) != count:
            self.close()
            raise Unavailable(f"{what}: {len(answer.registers)} registers came back, not {count}")
        return list(answer.registers)

    async def write(self, address: int, values: Sequence[int]) -> None:
        """Raises Unavailable, or NoSuchRegisters where the device refuses."""
        what = f"write {list(values)} to registers {address}-{address + len(values) - 1} of {self.address}"
        try:
            answer = await self._client.write_registers(address, list(values), device_id=self._unit)
        except (ModbusException, OSError, TimeoutError) as error:
            self.close()
            raise Unavailable(f"{what}: {error}") from error
        self._check(answer, what)

    def close(self) -> None:
        self._client.close()

    def _check(self, answer: ModbusPDU, what: str) -> None:
        if not answer.isError():
            return
        code = getattr(answer, "exception_code", None)
        if code in NOT_THERE:
            raise NoSuchRegisters(f"{what}: the device refuses with exception {code}")
        raise Unavailable(f"{what}: the device answers with exception {code}")
