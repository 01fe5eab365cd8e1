"""Provisioning's door for boxes, as a box sees it: real TLS, a real authority, and whatever can go wrong."""

import hashlib
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509

from services.provisioning.enrolment.authority import (
    CLIENT_LIFE,
    Authority,
    make_issuing,
    make_root,
    pem,
    serial_of,
)

TOKEN = "a-token-that-nobody-guesses"
EMAIL = "jane@example.org"


def new_authority() -> Authority:
    long_ago = datetime.now(UTC) - timedelta(days=2_000)
    root, root_key = make_root(long_ago)
    return Authority(root, *make_issuing(root, root_key, long_ago))


@dataclass
class Door:
    """What a test sets, and what it sees."""

    authority: Authority
    folder: Path
    mqtt_port: int = 8883
    assets: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0
    life: timedelta = CLIENT_LIFE
    clock_ahead: timedelta = timedelta()
    """of the server before this machine"""
    loses_answers: int = 0
    refuses_with: tuple[int, dict[str, str]] | None = None
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    issued: dict[bytes, str] = field(default_factory=dict)
    """certificate by key"""
    renewed_by: list[str] = field(default_factory=list)
    """serial numbers of the certificates that asked"""

    @property
    def link(self) -> str:
        return f"https://localhost:{self.port}/enroll?root={self.authority.fingerprint}#{TOKEN}"

    def now(self) -> datetime:
        return datetime.now(UTC) + self.clock_ahead

    def answer(self, csr: str) -> dict[str, Any]:
        key = x509.load_pem_x509_csr(csr.encode()).public_key()
        spki = hashlib.sha256(repr(key.public_numbers()).encode()).digest()  # type: ignore[union-attr]
        if spki not in self.issued:
            begun = self.now() - CLIENT_LIFE + self.life
            self.issued[spki] = pem(self.authority.issue_device(key, "acme", "box-1", begun))
        return {
            "certificate": self.issued[spki],
            "chain": self.authority.chain,
            "tenant": "acme",
            "box": "box-1",
            "site": "box-1",
            "site_name": "The attic",
            "mqtt": {"host": "localhost", "port": self.mqtt_port},
            "enrol_url": f"https://localhost:{self.port}",
            "assets": self.assets,
        }


@contextmanager
def open_door(door: Door) -> Iterator[Door]:
    """It listens while this lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", door.port), _handler(door))
    door.port = server.server_address[1]
    server.socket = _tls(door).wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield door
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _tls(door: Door) -> ssl.SSLContext:
    own = door.authority.mint_server(["localhost"], ["127.0.0.1"], door.now())
    certificate, key = door.folder / "door.pem", door.folder / "door.key"
    certificate.write_bytes(own.certificate)
    key.write_bytes(own.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(cadata=door.authority.chain)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _handler(door: Door) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(200, door.authority.chain.encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            door.asked.append((self.path, body))
            if door.refuses_with:
                status, detail = door.refuses_with
                return self._say(status, json.dumps(detail).encode())
            if self.path == "/renew":
                connection = self.connection
                assert isinstance(connection, ssl.SSLSocket)
                der = connection.getpeercert(binary_form=True)
                if der is None:
                    return self._say(401, b'{"detail": "no certificate"}')
                door.renewed_by.append(serial_of(x509.load_der_x509_certificate(der)))
            elif body["token"] != TOKEN:
                return self._say(410, b'{"detail": "gone"}')
            elif body["email"] != EMAIL:
                return self._say(403, b'{"detail": "wrong e-mail"}')
            answer = door.answer(body["csr"])
            if door.loses_answers:
                door.loses_answers -= 1
                self.connection.close()
            else:
                self._say(200, json.dumps(answer).encode())
            return None

        def _say(self, status: int, body: bytes) -> None:
            self.send_response_only(status)
            self.send_header("Date", format_datetime(door.now(), usegmt=True))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    return Handler
