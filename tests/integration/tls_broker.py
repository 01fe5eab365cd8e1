"""A Mosquitto of a test's own with mutual TLS for boxes, and a plain listener for the test itself."""

import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from scripts.local.mosquitto import binary
from services.provisioning.enrolment.authority import Authority
from tests.fakes.agent_cloud import until

SETTINGS = """\
per_listener_settings true
log_type all
listener {plain} 127.0.0.1
allow_anonymous true
listener {tls} 127.0.0.1
cafile {folder}/chain.pem
certfile {folder}/broker.pem
keyfile {folder}/broker.key
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class TlsBroker:
    """Believes one authority."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        folder.mkdir(exist_ok=True, parents=True)
        self.plain = ("127.0.0.1", free_port())
        self.tls_port = free_port()
        self._folder = folder
        own = authority.mint_server(["localhost"], ["127.0.0.1"], datetime.now(UTC))
        settings = SETTINGS.format(plain=self.plain[1], tls=self.tls_port, folder=folder)
        contents = {
            "chain.pem": authority.chain.encode(),
            "broker.pem": own.certificate,
            "broker.key": own.key,
            "mosquitto.conf": settings.encode(),
        }
        for name, content in contents.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o644)  # Mosquitto gives up being root before it reads them
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._launch()
        await until(self._listens, what="mosquitto listens")

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(10)

    def _launch(self) -> None:
        with self._log.open("wb") as log:
            command = [binary(), "-c", str(self._folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(self.plain) == 0
