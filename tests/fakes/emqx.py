"""EMQX's REST interface as far as the keeper uses it: bans and kicks, with the answers of 5.8.9."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class FakeEmqx:
    """What it was told, in order."""

    bans: dict[str, dict[str, Any]] = field(default_factory=dict)
    kicked: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)
    is_out_of_order: bool = False
    unkickable: set[str] = field(default_factory=set)
    url: str = ""

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if self.is_out_of_order:
            return 503, {"code": "SERVICE_UNAVAILABLE"}
        if method != "GET":
            self.writes.append(f"{method} {path}")
        match method, path.removeprefix("/api/v5").split("/")[1:]:
            case "GET", ["banned"]:
                limit, page = int(query["limit"][0]), int(query["page"][0])
                listed = list(self.bans.values())[(page - 1) * limit : page * limit]
                return 200, {"data": listed, "meta": {"count": len(self.bans), "page": page, "limit": limit}}
            case "POST", ["banned"]:
                if body["who"] in self.bans:
                    return 400, {"code": "ALREADY_EXISTS"}
                self.bans[body["who"]] = body
                return 200, body
            case "DELETE", ["banned", "username", who]:
                return (204, None) if self.bans.pop(unquote(who), None) else (404, {"code": "NOT_FOUND"})
            case "POST", ["clients", "kickout", "bulk"]:
                if self.unkickable & set(body):
                    return 500, {"code": "INTERNAL_ERROR"}
                self.kicked += body
                return 204, None
        raise AssertionError(f"not in EMQX: {method} {path}")


@contextmanager
def a_fake_emqx() -> Iterator[FakeEmqx]:
    """Listening on loopback."""
    fake = FakeEmqx()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            fake.authorizations.add(self.headers["Authorization"])
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            parts = urlsplit(self.path)
            status, answer = fake.answer(self.command, parts.path, parse_qs(parts.query), body)
            content = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
