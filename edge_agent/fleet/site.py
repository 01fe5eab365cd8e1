"""The devices of one site on one busbar: they move together, and the grid meter sees the rest.

    grid = load - PV - battery

Nothing ticks. A request first brings the whole site to its own instant, in steps that are short enough
for the physics and that end where a revert timer ends.
"""

from collections.abc import Iterable
from typing import Final

from edge_agent.fleet.clock import Clock
from edge_agent.fleet.device import Device
from edge_agent.fleet.meter_device import GridMeterDevice, LoadDevice

STEP_S: Final = 1.0
MAX_STEPS: Final = 600
"""After a long silence the steps get longer instead of more."""


class SiteModel:
    """Moves a site's devices to now."""

    def __init__(
        self, devices: Iterable[Device], *, clock: Clock, speed: float = 1.0, year_s: float = 0.0
    ) -> None:
        self._devices = tuple(devices)
        self._clock = clock
        self._speed = speed
        self._year_s = year_s
        self._at_s = clock()
        self._tell_meters(self._net_w(), mean_w=0.0, dt_s=0.0)

    def advance(self) -> None:
        """Brings every device to now."""
        now_s = self._clock()
        step_s = max(STEP_S, (now_s - self._at_s) * self._speed / MAX_STEPS) / self._speed
        while (gap_s := now_s - self._at_s) > 0:
            until_event_s = min(device.next_event_s() for device in self._devices)
            real_s = min(step_s, gap_s, until_event_s)
            self._step(real_s)
            # The last step lands on now, whatever the sum of the others rounds to.
            self._at_s = now_s if real_s == gap_s else self._at_s + real_s

    def _step(self, real_s: float) -> None:
        dt_s = real_s * self._speed
        self._year_s += dt_s
        mean_w = 0.0
        for device in self._devices:
            device_mean_w = device.step(dt_s=dt_s, real_s=real_s, year_s=self._year_s)
            mean_w += _on_import(device, device_mean_w)
        self._tell_meters(self._net_w(), mean_w=mean_w, dt_s=dt_s)

    def _net_w(self) -> float:
        return sum(_on_import(device, device.power_w) for device in self._devices)

    def _tell_meters(self, power_w: float, *, mean_w: float, dt_s: float) -> None:
        for device in self._devices:
            if isinstance(device, GridMeterDevice):
                device.measure(power_w, mean_w=mean_w, dt_s=dt_s)


def _on_import(device: Device, power_w: float) -> float:
    """The device's share of the grid's power."""
    if isinstance(device, GridMeterDevice):
        return 0.0
    return power_w if isinstance(device, LoadDevice) else -power_w
