"""A box from the waitlist to its erasure, on real processes and mutual TLS, by the commands that people type.

One story in order: each test goes on where the one before it ended.
"""

import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from paho.mqtt.enums import CallbackAPIVersion

from scripts.demo import hardware
from scripts.local import process
from scripts.local.part import ROOT
from scripts.local.ports import HOST, Ports, free_ports
from scripts.local.stack import Stack

BOX: Final = "hems-900100"
BATTERY: Final = "hems-900100-bess"
EMAIL: Final = "a.person@example.org"
PATIENCE_S: Final = 60.0
ASSETS: Final = [
    {"id": BATTERY, "name": "Battery", "type": "battery", "capacity_mwhr": 0.01, "max_mw": 0.005,
     "min_mw": -0.005, "driver": "simulated"}
]  # fmt: skip


class Mails(Message):
    """A real SMTP server's inbox."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Any] = []

    def handle_message(self, message: Any) -> None:
        self.received.append(message)

    def to(self, address: str) -> list[str]:
        mine = [mail for mail in self.received if address in str(mail["To"])]
        return [mail.get_payload(decode=True).decode() for mail in mine]


class World:
    """The platform, an operator on its machine, a customer with a token, and the customer's box."""

    def __init__(self, stack: Stack, home: Path, mails: Mails, on_exit: ExitStack) -> None:
        self.stack = stack
        self.mails = mails
        self.identity = home / "box" / "identity"
        self.spool = home / "box" / "spool.sqlite"
        self.user_id = ""
        self._home = home
        self._on_exit = on_exit
        self._agent: process.Process | None = None

    def ask(
        self, method: str, path: str, body: object = None, *, as_customer: bool = False
    ) -> tuple[int, Any]:
        headers = {"content-type": "application/json"}
        if as_customer:
            headers["authorization"] = f"Bearer {self._token()}"
        request = urllib.request.Request(
            self.stack.env()["API_URL"] + path,
            None if body is None else json.dumps(body).encode(),
            headers,
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                said = answer.read()
                return answer.status, json.loads(said) if said.startswith((b"{", b"[")) else said
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def must(self, method: str, path: str, body: object = None, *, as_customer: bool = False) -> Any:
        status, answer = self.ask(method, path, body, as_customer=as_customer)
        assert 200 <= status < 300, (method, path, status, answer)
        return answer

    def _token(self) -> str:
        done = self.run(
            "services.api", "token", "--tenant", "default", "--role", "customer", "--user", self.user_id
        )
        return done.stdout.strip()

    def run(self, module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.stack.env()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def enroll(self, link: str, identity: Path | None = None) -> "subprocess.CompletedProcess[str]":
        where = ["--identity", str(identity or self.identity)]
        return self.run("edge_agent", "enroll", link, "--email", EMAIL, *where)

    def start_agent(self) -> None:
        environment = {
            "IDENTITY_DIR": str(self.identity),
            "SPOOL_PATH": str(self.spool),
            "TELEMETRY_INTERVAL_MS": "500",
            "CLOCK_TRUSTED": "1",
        }
        self._agent = hardware.start(self.stack, "agent", ["edge_agent"], environment)
        self._on_exit.callback(process.end, self._agent, signal.SIGKILL)

    def stop_agent(self) -> None:
        assert self._agent
        process.end(self._agent, signal.SIGTERM)

    def latest(self) -> datetime | None:
        """When the battery was measured last."""
        status, answer = self.ask("GET", f"/telemetry/{BATTERY}")
        return datetime.fromisoformat(answer["at"]) if status == 200 and answer["at"] else None

    def hears_the_battery(self) -> None:
        before = self.latest()

        def is_newer() -> bool:
            now = self.latest()
            return now is not None and (before is None or now > before)

        self.wait("a new sample of the battery", is_newer)

    def may_connect(self) -> bool:
        """Whether the broker lets the box's certificate in."""
        context = ssl.create_default_context(cafile=str(self.identity / "root.pem"))
        context.load_cert_chain(self.identity / "certificate.pem", self.identity / "key.pem")
        reasons: list[bool] = []
        client = paho.Client(CallbackAPIVersion.VERSION2, f"default/{BOX}", protocol=paho.MQTTv5)
        client.tls_set_context(context)
        client.on_connect = lambda _, __, ___, reason, ____: reasons.append(not reason.is_failure)
        try:
            client.connect("localhost", self.stack.ports.mqtt_tls)
            for _ in range(50):
                if client.loop(timeout=0.1) != paho.MQTT_ERR_SUCCESS or reasons:
                    break
        except (OSError, ssl.SSLError):
            return False
        finally:
            client.disconnect()
        return reasons == [True]

    def actions(self) -> list[str]:
        return [entry["action"] for entry in self.must("GET", "/admin/audit")]

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        assert process.wait_until(condition, PATIENCE_S), f"{what} did not happen within {PATIENCE_S:g} s"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    from tests.conftest import _home

    for home in _home():
        with ExitStack() as on_exit:
            mails = Mails()
            [smtp_port] = free_ports(1)
            sink = Controller(mails, hostname=HOST, port=smtp_port)
            sink.start()
            on_exit.callback(sink.stop)
            settings = {"ASSETS_PATH": "", "SMTP_URL": f"smtp://{HOST}:{smtp_port}"}
            stack = on_exit.enter_context(Stack(home, Ports.free(), service_environment=settings))
            stack.up()
            yield World(stack, home, mails, on_exit)


def test_an_applicant_gets_a_box_and_a_link(world: World) -> None:
    # H-005, H-006, H-008, H-009, H-014: from the waitlist.
    world.must("POST", "/admin/waitlist", {"email": EMAIL, "hardware": "SolarEdge SE5K"})
    [entry] = world.must("GET", "/admin/waitlist")["open"]
    assert entry["tier"] == "stable"
    assert "PASTE_TOKEN_HERE" in json.dumps(entry)

    # H-010: a box before it is there, on the customer's name.
    user = world.must("POST", "/admin/users", {"email": EMAIL, "role": "customer"})
    world.user_id = user["user_id"]
    box = world.must("POST", "/admin/boxes", {"box_id": BOX, "site_name": EMAIL, "user_id": world.user_id})
    assert (box["serial"], box["mode"], box["enrolled_at"]) == (None, "observe", None)
    world.must("PUT", f"/admin/boxes/{BOX}/assets", {"assets": ASSETS})

    # H-012, H-013, H-015: the link is bound to the address and works once.
    link = world.must("POST", f"/admin/boxes/{BOX}/issue_enroll_token", {"email": EMAIL})["url"]
    world.must("POST", f"/admin/waitlist/{entry['entry_id']}/invited", {"token_url": link})
    assert world.must("GET", "/admin/waitlist")["open"] == []
    wrong = world.run(
        "edge_agent", "enroll", link, "--email", "b@example.org", "--identity", str(world.identity)
    )
    assert wrong.returncode != 0
    done = world.enroll(link)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((world.identity / "key.pem").stat().st_mode) == 0o600
    again = world.enroll(link, world.identity.with_name("thief"))
    assert again.returncode != 0
    assert "new enrolment link" in again.stderr
    world.wait("the invitation", lambda: any(link in mail for mail in world.mails.to(EMAIL)))


def test_the_box_reports_by_mutual_tls_and_is_only_observed(world: World) -> None:
    world.start_agent()
    world.hears_the_battery()

    # H-031, H-032: enrolled boxes start in observe, and nothing is written to them.
    [control] = world.must("GET", "/account/control", as_customer=True)["boxes"]
    assert control["locked"] is True
    status, refused = world.ask("POST", "/dispatch", {"asset_id": BATTERY, "mw": 0.003})
    assert (status, "observe" in refused["detail"]) == (409, True)


def test_a_flip_and_an_opt_in_let_a_dispatch_through(world: World) -> None:
    # H-030, H-031, H-034.
    world.must("POST", f"/admin/boxes/{BOX}/mode", {"mode": "active", "payment_ref": "inv-77"})
    status, refused = world.ask("POST", "/dispatch", {"asset_id": BATTERY, "mw": 0.003})
    assert (status, "battery" in refused["detail"]) == (409, True)
    world.must("PUT", "/account/control", {"capability": "battery", "enabled": True}, as_customer=True)

    world.must("POST", "/dispatch", {"asset_id": BATTERY, "mw": 0.003})
    world.wait(
        "a verified dispatch",
        lambda: world.must("GET", "/dispatch/history")[0]["state"] == "verified",
    )

    # H-035, H-036: the same way back, and the box lives on.
    world.must("POST", f"/admin/users/{world.user_id}/mode", {"mode": "observe"})
    assert world.ask("POST", "/dispatch", {"asset_id": BATTERY, "mw": 0.003})[0] == 409
    world.hears_the_battery()
    assert world.actions().count("box.mode_flip") == 2


def test_a_revoked_box_is_out_until_it_is_brought_in_anew(world: World) -> None:
    assert world.may_connect()
    world.must("POST", f"/admin/boxes/{BOX}/revoke", {"reason": "key_compromise"})
    world.wait("the broker to refuse the certificate", lambda: not world.may_connect())
    world.stop_agent()
    heard = world.latest()

    link = world.must("POST", f"/admin/boxes/{BOX}/issue_enroll_token", {"email": EMAIL})["url"]
    assert world.enroll(link).returncode == 0
    world.start_agent()
    world.hears_the_battery()
    assert heard is not None  # its history is still there
    assert world.must("GET", f"/admin/boxes/{BOX}")["state"] == "active"


def test_a_person_is_forgotten(world: World) -> None:
    # H-019, H-020: asked for by the customer.
    world.must("POST", "/account/data/delete-request", {"reason": "moving"}, as_customer=True)
    [request] = world.must("GET", "/admin/data-requests")
    assert request["boxes"] == [BOX]

    # H-021: what it would be.
    path = f"/admin/data-requests/{request['request_id']}/execute"
    preview = world.must("POST", f"{path}?dry_run=1")
    assert preview["boxes"][BOX]["metrics"] > 0
    assert world.latest() is not None

    # H-022, H-023, H-024.
    world.must("POST", path)
    world.wait("the notice", lambda: any("your data has been deleted." in m for m in world.mails.to(EMAIL)))
    assert "user.delete_executed" in world.actions()
    assert world.latest() is None
    assert world.stack.sql("select count(*) from telemetry", "iotcloud").strip() == "0"
    world.wait("the box to be out", lambda: not world.may_connect())
