"""Mosquitto, the MQTT broker where no EMQX can run. Its defaults lose data, these settings do not.

With defaults a slow subscriber keeps 20 + 1000 messages of 3000 acknowledged ones, and a kill loses half an
hour. Development only: anonymous, on loopback, and a client's user name is believed.
"""

import shutil
import socket
from functools import partial
from pathlib import Path
from typing import Final

from scripts.local.part import ROOT, Part, make_directory, own_user, place, write
from scripts.local.ports import HOST, Ports
from scripts.local.problem import Problem

ACL: Final = ROOT / "compose" / "mosquitto" / "acl"

SETTINGS: Final = """\
listener {port} {host}
allow_anonymous true
acl_file {directory}/acl
max_packet_size 262144
# No limit of the broker's own on what is in flight: the subscriber's receive maximum is the brake.
max_inflight_messages 0
max_queued_messages 100000
persistence true
persistence_location {directory}/
# Seconds. Only sessions with a clean start of false are kept.
autosave_interval 1
set_tcp_nodelay true
log_dest stdout
# Not `information`: it reports every autosave.
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%S
"""

# MQTT 3.1.1: CONNECT with client id `ready`, a clean session and a keep-alive of 10 s.
CONNECT: Final = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x0a\x00\x05ready"
CONNACK: Final = b"\x20\x02\x00\x00"
DISCONNECT: Final = b"\xe0\x00"


def part(home: Path, ports: Ports) -> Part:
    """The broker."""
    user = own_user("mosquitto")
    directory = place(home, "mosquitto", user)
    return Part(
        name="mosquitto",
        ports={"mosquitto": ports.mosquitto},
        command=lambda: [binary(), "-c", str(directory / "mosquitto.conf")],
        is_ready=partial(is_ready, ports.mosquitto),
        directory=Path("/"),
        user=user,
        prepare=partial(prepare, directory, ports.mosquitto, user),
    )


def binary() -> str:
    """Debian puts it where only root's PATH looks."""
    if found := shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"):
        return found
    raise Problem("mosquitto is not installed: run `make setup`")


def prepare(directory: Path, port: int, user: str | None) -> None:
    """Write its settings and the rules that EMQX has too."""
    make_directory(directory, user)
    settings = SETTINGS.format(host=HOST, port=port, directory=directory)
    write(directory / "mosquitto.conf", settings, user)
    write(directory / "acl", ACL.read_text(), user)


def is_ready(port: int) -> bool:
    """Whether it accepts a client."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(CONNECT)
            accepted = connection.recv(4) == CONNACK
            connection.sendall(DISCONNECT)
            return accepted
    except OSError:
        return False
