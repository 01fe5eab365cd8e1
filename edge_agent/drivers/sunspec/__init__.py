"""Inverters, batteries and meters that speak SunSpec over Modbus TCP.

Settings of the asset: `host`, `port` (502), `unit` (1), `timeout_s` (3).
"""

from edge_agent.drivers import DriverInfo
from edge_agent.drivers.sunspec.driver import SunSpecDriver, describe

DRIVER = DriverInfo(
    "sunspec",
    "stable",
    "SunSpec inverters, batteries and meters, Modbus TCP: host, port, unit",
    SunSpecDriver,
    describe,
)
