"""An asset without hardware, for trying the agent out: a battery with physics, a sun, a load."""

from edge_agent.drivers import DriverInfo
from edge_agent.drivers.simulated.driver import SimulatedDriver

DRIVER = DriverInfo(
    "simulated", "stable", "no hardware: plays the asset that the inventory names", SimulatedDriver
)
