"""The demo's on-call person: a webhook receiver that believes only signed pages and counts each once."""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Pages:
    """What arrived. `by_id` has one entry per webhook-id, however often it was sent."""

    by_id: dict[str, dict[str, object]] = field(default_factory=dict)
    refused: int = 0


def is_signed(headers: dict[str, str], body: bytes, secrets: Sequence[str]) -> bool:
    """Standard Webhooks v1: base64 HMAC-SHA256 over `id.timestamp.body` under any of the secrets."""
    signed = f"{headers.get('webhook-id', '')}.{headers.get('webhook-timestamp', '')}.".encode() + body
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        for given in headers.get("webhook-signature", "").split():
            if hmac.compare_digest(given, expected):
                return True
    return False


class Sink:
    """Listens on loopback in a thread of its own; `secrets` is filled in once the channel exists."""

    def __init__(self, host: str, port: int) -> None:
        self.pages = Pages()
        self.secrets: list[str] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                if is_signed(headers, body, sink.secrets):
                    sink.pages.by_id.setdefault(headers["webhook-id"], json.loads(body))
                    self.send_response(204)
                else:
                    sink.pages.refused += 1
                    self.send_response(401)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the view shows what arrived."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self.port = int(self._server.server_address[1])
        self.url = f"http://{host}:{self.port}/page"

    def opened(self) -> list[dict[str, object]]:
        """Signed pages that say that an alert opened."""
        return [page for page in self.pages.by_id.values() if page.get("type") == "alert.opened"]

    def __enter__(self) -> "Sink":
        Thread(target=self._server.serve_forever, name="webhook-sink", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
