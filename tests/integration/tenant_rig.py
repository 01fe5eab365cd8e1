"""tenantctl as a real process beside a real provisioning, and the two that it calls in a smoke test."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs

from tests.integration.controller_rig import ROOT
from tests.integration.door_rig import Service

MODULE: Final = (sys.executable, "-m", "services.provisioning.tenantctl")


@dataclass(frozen=True)
class Done:
    """How a call ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What --json printed."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Tenantctl:
    """The command with its environment; nothing of ours leaks into it."""

    environment: Mapping[str, str]

    async def __call__(
        self, *arguments: str, stdin: str = "", program: tuple[str, ...] = MODULE, **more: str
    ) -> Done:
        """One call, without a terminal."""
        process = await asyncio.create_subprocess_exec(
            *program,
            *arguments,
            env={**self.environment, **more},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin.encode())
        return Done(process.returncode or 0, out.decode(), err.decode())


def tenantctl(home: Path, door: Service) -> Tenantctl:
    """tenantctl against this provisioning, its directories below `home`."""
    return Tenantctl(
        {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PROVISIONING_URL": str(door.http.base_url),
            "API_URL": str(door.http.base_url),
            "TENANTS_DIR": str(home / "tenants"),
            "BACKUP_DIR": str(home / "backups"),
            "DOCKER": f"{sys.executable} {ROOT / 'tests/fakes/docker.py'} {home / 'docker.json'}",
            "COMPOSE": f"{sys.executable} {ROOT / 'tests/fakes/docker.py'} {home / 'docker.json'}",
        }
    )


class Carriers:
    """A Telegram Bot API and a Twilio that accept one token each."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.echoes = True
        self.url = ""


@asynccontextmanager
async def carriers() -> AsyncIterator[Carriers]:
    """Both, on loopback."""
    told = Carriers()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            if self.path == "/bot12345:good-token/sendMessage":
                sent = json.loads(body)
                told.calls.append(sent)
                text = sent["text"] if told.echoes else "pong"
                self._answer(200, {"ok": True, "result": {"message_id": 7, "text": text}})
            elif self.path == "/2010-04-01/Accounts/AC1234567890/Calls.json" and self._is_known():
                told.calls.append({name: values[0] for name, values in parse_qs(body).items()})
                self._answer(201, {"status": "queued"})
            else:
                self._answer(401, {"description": f"unauthorized: {self.path}", "message": body})

        def _is_known(self) -> bool:
            return self.headers["authorization"] == "Basic QUMxMjM0NTY3ODkwOnR3aWxpby1zZWNyZXQ="

        def _answer(self, status: int, content: Any) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


KEY = {"X_Admin_Key": "change-me-now"}


PACK: Final[dict[str, Any]] = {
    "name": "pack",
    "rules": [{"name": "silent", "kind": "no_heartbeat", "severity": 3}],
}


async def audited(db: Any, action: str, tenant: str) -> list[dict[str, Any]]:
    rows = await db.fetch(
        "select detail from admin_audit where action = $1 and tenant_id = $2 and target_id = $2 order by at",
        action,
        tenant,
    )
    return [json.loads(row["detail"]) for row in rows]


async def wholeness(db: Any, tenant: str) -> tuple[int, ...]:
    """How many of each thing that a tenant consists of."""
    tables = ("tenant", "tenant_setup", "alert_rules", "escalation_policies")
    counts = [
        await db.fetchval(f"select count(*) from {table} where tenant_id = $1", tenant) for table in tables
    ]
    return (*counts, len(await audited(db, "tenant.provisioned", tenant)))


WHOLE: Final = (1, 1, 3, 1, 1)


NOTHING: Final = (0, 0, 0, 0, 0)
