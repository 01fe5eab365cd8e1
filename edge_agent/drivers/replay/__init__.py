"""An asset whose hardware is a series: a recorded one from a file, or one that a seed makes."""

from edge_agent.drivers import DriverInfo
from edge_agent.drivers.replay.driver import connect

DRIVER = DriverInfo(
    "replay", "stable", "no hardware: plays a recorded series, or one that a seed makes", connect
)
