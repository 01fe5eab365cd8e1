"""A driver to copy: a Modbus thermometer with two registers. README.md beside this folder has the steps."""

from edge_agent.drivers import DriverInfo
from edge_agent.drivers.blueprint.driver import BlueprintDriver

DRIVER = DriverInfo(
    "blueprint", "beta", "the one to copy: a Modbus thermometer: host, port, unit", BlueprintDriver
)
