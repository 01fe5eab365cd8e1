"""Mosquitto, the MQTT broker where no EMQX can run. Its defaults lose data, these settings do not.

With defaults a slow subscriber keeps 20 + 1000 messages of 3000 acknowledged ones, and a kill loses half an
hour. Three listeners, all on loopback: with a certificate, with a token, and in development also without
either, where a client's user name is believed.
"""

import shutil
import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from scripts.local import certificates
from scripts.local.part import ROOT, Part, give, make_directory, own_user, place, write
from scripts.local.ports import HOST, Ports
from scripts.local.problem import Problem

ACL: Final = ROOT / "compose" / "mosquitto" / "acl"

MOST_QUEUED: Final = "100000"

SETTINGS: Final = """\
per_listener_settings true
pid_file {directory}/mosquitto.pid
max_packet_size 262144
# No limit of the broker's own on what is in flight: the subscriber's receive maximum is the brake.
max_inflight_messages 0
max_queued_messages {most_queued}
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

PLAIN: Final = """
listener {port} {host}
allow_anonymous true
acl_file {directory}/acl
"""

# Without the last line any device could end another one's session by its client id.
CERTIFICATES: Final = """
listener {port} {host}
cafile {directory}/chain.pem
certfile {directory}/mosquitto.pem
keyfile {directory}/mosquitto.key
crlfile {directory}/crl.pem
require_certificate true
allow_anonymous false
acl_file {directory}/acl
use_identity_as_username true
use_username_as_clientid true
"""

TOKENS: Final = """
listener {port} {host}
certfile {directory}/mosquitto.pem
keyfile {directory}/mosquitto.key
allow_anonymous false
password_file {directory}/passwords
acl_file {directory}/acl
use_username_as_clientid true
"""

# MQTT 3.1.1: CONNECT with client id `ready`, a clean session and a keep-alive of 10 s.
CONNECT: Final = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x0a\x00\x05ready"
CONNACK: Final = b"\x20\x02\x00\x00"
DISCONNECT: Final = b"\xe0\x00"


def directory(home: Path) -> Path:
    """Where its configuration and data lie."""
    return place(home, "mosquitto", own_user("mosquitto"))


def part(home: Path, ports: Ports, environment: Mapping[str, str]) -> Part:
    """The broker; without the plain port in production. MQTT_MOST_QUEUED: messages kept for one session."""
    listeners = {"mosquitto": PLAIN, "mqtt_tls": CERTIFICATES, "mqtt_token": TOKENS}
    if environment["ENVIRONMENT"] == "production":
        del listeners["mosquitto"]
    numbers = {name: int(getattr(ports, name)) for name in listeners}
    most_queued = environment.get("MQTT_MOST_QUEUED", MOST_QUEUED)
    settings = SETTINGS.format(directory="{directory}", most_queued=most_queued) + "".join(
        text.format(port=numbers[name], host=HOST, directory="{directory}")
        for name, text in listeners.items()
    )
    user = own_user("mosquitto")
    return Part(
        name="mosquitto",
        ports=numbers,
        command=lambda: [binary(), "-c", str(directory(home) / "mosquitto.conf")],
        is_ready=partial(is_ready, numbers),
        directory=Path("/"),
        user=user,
        prepare=partial(prepare, home, settings, user),
    )


def binary() -> str:
    """Debian puts it where only root's PATH looks."""
    if found := shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"):
        return found
    raise Problem("mosquitto is not installed: run `make setup`")


def prepare(home: Path, settings: str, user: str | None) -> None:
    """Write its settings and certificates; rules and tokens only where provisioning has written none."""
    here, own = directory(home), certificates.directory(home)
    make_directory(here, user)
    certificates.prepare(home)
    write(here / "mosquitto.conf", settings.format(directory=here), user)
    for name in ("chain.pem", "mosquitto.pem", "mosquitto.key"):
        write(here / name, (own / name).read_text(), user)
    if not (here / "acl").exists():
        write(here / "acl", ACL.read_text(), user)
    if not (here / "passwords").exists():
        write(here / "passwords", "", user)
    certificates.sign_crl(home, here / "crl.pem")
    give(here / "crl.pem", user)


def is_ready(ports: Mapping[str, int]) -> bool:
    """Whether it listens, and on the plain port accepts a client."""
    try:
        for name, port in ports.items():
            with socket.create_connection((HOST, port), timeout=1) as connection:
                if name == "mosquitto":
                    connection.sendall(CONNECT)
                    if connection.recv(4) != CONNACK:
                        return False
                    connection.sendall(DISCONNECT)
    except OSError:
        return False
    return True
