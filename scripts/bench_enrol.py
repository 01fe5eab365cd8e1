"""`make bench-enrol`: what it costs to bring boxes in, on real TLS, PostgreSQL and the whole platform.

Printed: JSON, and a line for people.

- call: one enrolment at a time, from opening the connection to the whole answer (under 100 ms at p95)
- sustained: enrolments a second with a few boxes at a time (goal: 50)
- at once: 1,000 boxes begin in the same moment; each must have exactly one certificate (floor)
- redemptions: 50 keys try one token; exactly one gets a certificate (floor)
- link to sample: from the operator's link to the first stored row: enrol command, agent's start, first sample

The boxes run on this machine too: about half of a core's work for an enrolment is theirs.
"""

import argparse
import asyncio
import json
import os
import platform as machine
import ssl
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scripts.bench_stack import a_home, a_stack, report, run
from scripts.demo import hardware
from scripts.local import certificates
from scripts.local.part import ROOT
from scripts.local.ports import HOST
from scripts.local.problem import Problem
from scripts.local.stack import Stack
from services.provisioning.enrolment.tokens import hash_of, new_token

TENANT: Final = "bench"
EMAIL: Final = "owner@example.com"
ADMIN_KEY: Final = "change-me-now"
ADD: Final = (
    "insert into tenant (tenant_id, name) values ($1, $1) on conflict do nothing",
    "insert into site (tenant_id, site_id) select $1, unnest($2::text[])",
    "insert into box (tenant_id, box_id, site_id, source) select $1, b, b, 'admin' from unnest($2::text[]) b",
    "insert into device (tenant_id, device_id, site_id, box_id, type)"
    " select $1, b, b, b, 'agent' from unnest($2::text[]) b",
)
ADD_TOKENS: Final = """
insert into enrol_token (token_hash, prefix, tenant_id, box_id, email, expires_at)
select hash, left(token, 8), $1, box, $2, now() + interval '1 hour'
from unnest($3::text[], $4::text[], $5::bytea[]) as t (box, token, hash)"""
CERTIFICATES: Final = """
select count(*) as boxes, coalesce(max(n), 0) as most
from (select count(*) as n from certificate
      where tenant_id = $1 and device_id = any($2) group by device_id) as each_box"""


@dataclass(frozen=True, slots=True)
class Result:
    """Milliseconds, seconds and counts as the names say."""

    call_p50_ms: float
    call_p95_ms: float
    sustained_per_s: float
    at_once: int
    at_once_s: float
    at_once_one_certificate_each: bool
    redemptions: int
    redemptions_that_won: int
    link_to_sample_s: tuple[float, ...]
    cores: int
    load_1m: float
    machine: str

    def line(self) -> str:
        """For people."""
        each = "exactly one certificate each" if self.at_once_one_certificate_each else "NOT ONE EACH"
        samples = ", ".join(f"{seconds:.1f}" for seconds in self.link_to_sample_s)
        return (
            f"enrolment p50 {self.call_p50_ms:.0f} ms, p95 {self.call_p95_ms:.0f} ms; "
            f"{self.sustained_per_s:.0f} a second; {self.at_once} at once in {self.at_once_s:.1f} s, {each}; "
            f"{self.redemptions} redemptions of one token: {self.redemptions_that_won} won; "
            f"link to first stored sample {samples} s"
        )


class Boxes:
    """The boxes' side: connections of their own to the door."""

    def __init__(self, stack: Stack, db: asyncpg.Connection) -> None:
        self._db = db
        self._port = stack.ports.enrol
        root = (certificates.authority(stack.home) / "root.pem").read_text()
        self._tls = ssl.create_default_context(cadata=root)
        self._made = 0

    async def make(self, count: int) -> tuple[list[str], list[str]]:
        """Names and open tokens of so many new boxes."""
        names = [f"box-{self._made + number:05d}" for number in range(count)]
        self._made += count
        for statement in ADD:
            await self._db.execute(statement, *((TENANT, names) if "$2" in statement else (TENANT,)))
        tokens = [new_token() for _ in names]
        await self._db.execute(ADD_TOKENS, TENANT, EMAIL, names, tokens, [hash_of(each) for each in tokens])
        return names, tokens

    async def enrol(self, token: str, csr: str) -> int:
        """One call on a connection of its own; the status."""
        body = json.dumps({"token": token, "email": EMAIL, "csr": csr})
        reader, writer = await asyncio.open_connection(HOST, self._port, ssl=self._tls)
        writer.write(
            f"POST /enroll HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
        )
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ", 2)[1])

    async def certificates(self, names: Sequence[str]) -> tuple[int, int]:
        """How many of them have certificates, and the most that one has."""
        row = await self._db.fetchrow(CERTIFICATES, TENANT, list(names))
        assert row is not None
        return row["boxes"], row["most"]


def a_request() -> str:
    """A key of a box, as a request."""
    key = ec.generate_private_key(ec.SECP256R1())
    signed = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


async def measure(stack: Stack, calls: int, at_once: int, samples: int) -> Result:
    """One after the other."""
    db = await asyncpg.connect(stack.env()["DATABASE_URL"])
    boxes, load_1m = Boxes(stack, db), os.getloadavg()[0]
    csr = a_request()
    call_ms = await one_by_one(boxes, calls, csr)
    per_s = await sustained(boxes, calls * 2, csr)
    names, tokens = await boxes.make(at_once)
    begun_s = time.monotonic()
    _expect_200(await asyncio.gather(*(boxes.enrol(token, csr) for token in tokens)))
    at_once_s = time.monotonic() - begun_s
    with_certificates = await boxes.certificates(names)
    _, [token] = await boxes.make(1)
    statuses = await asyncio.gather(*(boxes.enrol(token, a_request()) for _ in range(50)))
    to_sample_s = [await link_to_sample(stack, db, number) for number in range(samples)]
    await db.close()
    return Result(
        call_p50_ms=round(statistics.median(call_ms), 1),
        call_p95_ms=round(statistics.quantiles(call_ms, n=20)[-1], 1),
        sustained_per_s=round(per_s, 1),
        at_once=at_once,
        at_once_s=round(at_once_s, 2),
        at_once_one_certificate_each=with_certificates == (at_once, 1),
        redemptions=len(statuses),
        redemptions_that_won=statuses.count(200),
        link_to_sample_s=tuple(round(each, 2) for each in to_sample_s),
        cores=os.cpu_count() or 0,
        load_1m=round(load_1m, 2),
        machine=f"{machine.machine()} {machine.system()} {machine.release()}",
    )


async def one_by_one(boxes: Boxes, calls: int, csr: str) -> list[float]:
    """Milliseconds of each call."""
    _, tokens = await boxes.make(calls)
    call_ms = []
    for token in tokens:
        begun_s = time.monotonic()
        _expect_200([await boxes.enrol(token, csr)])
        call_ms.append((time.monotonic() - begun_s) * 1e3)
    return call_ms


async def sustained(boxes: Boxes, calls: int, csr: str, lanes: int = 8) -> float:
    """Enrolments a second, a few at a time."""
    _, tokens = await boxes.make(calls)
    waiting = iter(tokens)

    async def lane() -> None:
        for token in waiting:
            _expect_200([await boxes.enrol(token, csr)])

    begun_s = time.monotonic()
    await asyncio.gather(*(lane() for _ in range(lanes)))
    return calls / (time.monotonic() - begun_s)


async def link_to_sample(stack: Stack, db: asyncpg.Connection, number: int) -> float:
    """Seconds from the operator's link to the first stored row of a box that is new."""
    box = f"new-{number}"
    battery = {"id": f"{box}-bess", "type": "battery", "capacity_mwhr": 0.01, "max_mw": 0.005}
    await _admin(stack, "POST", "/boxes", {"tenant_id": TENANT, "box_id": box, "site_name": "New"})
    await _admin(stack, "PUT", f"/boxes/{TENANT}/{box}/assets", {"assets": [battery]})
    folder = stack.home / "data" / "boxes" / box
    folder.mkdir(parents=True)
    identity = folder / "identity"
    begun_s = time.monotonic()
    link = await _admin(stack, "POST", f"/boxes/{TENANT}/{box}/enroll-tokens", {"email": EMAIL})
    command = ["enroll", link["url"], "--email", EMAIL, "--identity", str(identity)]
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "edge_agent", *command],
        cwd=ROOT,
        env={**os.environ, **stack.env()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Problem(f"python -m edge_agent enroll: {(done.stderr or done.stdout).strip()}")
    environment = {
        "IDENTITY_DIR": str(identity),
        "ASSETS_PATH": str(identity / "assets.yaml"),
        "SPOOL_PATH": str(folder / "spool.sqlite"),
        "CLOCK_TRUSTED": "1",
    }
    with hardware.running(stack, f"agent-{box}", ["edge_agent"], environment):
        async with asyncio.timeout(60):
            while not await db.fetchval(
                "select exists (select from telemetry join device using (device_key) where device_id = $1)",
                battery["id"],
            ):
                await asyncio.sleep(0.02)
        return time.monotonic() - begun_s


async def _admin(stack: Stack, method: str, path: str, body: object) -> Any:
    request = urllib.request.Request(
        f"{stack.env()['PROVISIONING_URL']}/api/admin{path}",
        json.dumps(body).encode(),
        {"content-type": "application/json", "x-admin-key": ADMIN_KEY},
        method=method,
    )
    return json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=30).read()))


def _expect_200(statuses: Sequence[int]) -> None:
    wrong = sorted(set(statuses) - {200})
    if wrong:
        raise Problem(f"enrolments were answered {wrong}; all should have been 200")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=300, help="timed one by one; twice that sustained (300)")
    parser.add_argument("--at-once", type=int, default=1000, help="boxes that begin together (1000)")
    parser.add_argument("--samples", type=int, default=3, help="boxes followed to their first sample (3)")
    arguments = parser.parse_args()
    with a_home() as home, a_stack(home, {"ASSETS_PATH": ""}) as stack:
        stack.up()
        result = asyncio.run(measure(stack, arguments.calls, arguments.at_once, arguments.samples))
    report(result)


if __name__ == "__main__":
    run(main)
