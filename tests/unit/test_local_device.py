"""`make device`: what it sends to provisioning, and what it says when that does not answer."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from scripts.device import Refused, main, post


class Provisioning(HTTPServer):
    """Answers with the next of `statuses` and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses: list[int] = []
        self.asked: list[tuple[str, str | None, object]] = []


class Handler(BaseHTTPRequestHandler):
    server: Provisioning

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["X-Admin-Key"], body))
        self.send_response(self.server.statuses.pop(0))
        self.end_headers()
        self.wfile.write(b'{"detail":"why not"}')

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def provisioning() -> Iterator[Provisioning]:
    server = Provisioning()
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_tenant_is_registered_before_its_device_and_what_exists_is_fine(
    provisioning: Provisioning, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # P-031, P-032
    provisioning.statuses = [409, 201]
    monkeypatch.setenv("PROVISIONING_URL", f"http://127.0.0.1:{provisioning.server_address[1]}")
    monkeypatch.setenv("PROVISION_ADMIN_KEY", "a-key")

    assert main(["--tenant", "tenant-a", "--device", "sensor-001"]) == 0

    assert provisioning.asked == [
        ("/api/admin/tenants", "a-key", {"tenant_id": "tenant-a", "name": "tenant-a"}),
        ("/api/admin/devices", "a-key", {"tenant_id": "tenant-a", "device_id": "sensor-001"}),
    ]
    assert capsys.readouterr().out.splitlines() == [
        "tenant tenant-a: there already",
        "device tenant-a/sensor-001: registered",
    ]


def test_a_refusal_is_told_with_what_the_service_said(provisioning: Provisioning) -> None:
    provisioning.statuses = [401]

    with pytest.raises(Refused, match=r"answered 401: .*why not"):
        post(f"http://127.0.0.1:{provisioning.server_address[1]}/api/admin/tenants", {}, "wrong")


def test_a_service_that_is_not_there_is_told_with_what_to_do() -> None:
    with pytest.raises(Refused, match=r"does not answer .* `make start`"):
        post("http://127.0.0.1:9/api/admin/tenants", {}, "a-key")


@pytest.mark.parametrize("given", [["--tenant", "", "--device", "x"], ["--tenant", "x", "--device", ""]])
def test_both_names_are_needed(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(given) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: TENANT and DEVICE are both needed")
