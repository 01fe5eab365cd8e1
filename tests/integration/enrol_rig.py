"""Provisioning with an authority as a real process, its two doors, and boxes that make keys and requests."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.provisioning.enrolment import authority_files
from services.provisioning.enrolment.authority import Authority, private_pem
from services.provisioning.enrolment.tokens import hash_of, new_token
from services.runtime import clock
from tests.integration.controller_rig import free_port, until
from tests.integration.door_rig import Service, a_service

KEY: Final = {"X_Admin_Key": "change-me-now"}
EMAIL: Final = "owner@example.com"


@dataclass
class Box:
    """A box's side: a key that it made, and later a certificate."""

    directory: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def csr(self) -> str:
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        signed = builder.sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    def context(self, root: x509.Certificate, *certificates: str) -> ssl.SSLContext:
        """Believes this root, and shows these certificates."""
        pem = root.public_bytes(serialization.Encoding.PEM).decode()
        context = ssl.create_default_context(cadata=pem)
        if certificates:
            serial = x509.load_pem_x509_certificate(certificates[0].encode()).serial_number
            path = self.directory / f"{serial:x}.pem"
            path.write_text(private_pem(self.key).decode() + "".join(certificates))
            context.load_cert_chain(path)
        return context


@dataclass
class Place:
    """The running process."""

    service: Service
    authority: Authority
    url: str
    directory: Path
    tenant: str

    def a_box(self) -> Box:
        return Box(self.directory)

    def door(self, context: ssl.SSLContext | None = None) -> httpx2.AsyncClient:
        """A client of the boxes' door."""
        verify = context or self.a_box().context(self.authority.root)
        return httpx2.AsyncClient(
            base_url=self.url,
            verify=verify,
            timeout=60,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def post(self, path: str, body: Any, context: ssl.SSLContext | None = None) -> httpx2.Response:
        """One request on a connection of its own."""
        async with self.door(context) as http:
            return await http.post(path, json=body)

    async def admin(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        """As an administrator."""
        return await self.service.ask(method, f"/api/admin{path}", body, **KEY)

    async def token(self, box: str, email: str = EMAIL, **more: Any) -> str:
        """A new one for a box of this tenant."""
        answer = await self.admin(
            "POST", f"/boxes/{self.tenant}/{box}/enroll-tokens", {"email": email, **more}
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    async def enrol(
        self, token: str, box: Box, email: str = EMAIL, csr: str | None = None
    ) -> httpx2.Response:
        """As the box does it."""
        return await self.post("/enroll", {"token": token, "email": email, "csr": csr or box.csr})

    async def come_in(self, name: str) -> tuple[Box, dict[str, Any]]:
        """A box that is in, with what it was told."""
        box = self.a_box()
        answer = await self.enrol(await self.token(name), box)
        assert answer.status_code == 200, answer.text
        return box, answer.json()

    def shows(self, box: Box, told: Mapping[str, Any]) -> ssl.SSLContext:
        """The box with its certificate."""
        return box.context(self.authority.root, told["certificate"], told["chain"])


@asynccontextmanager
async def a_place(directory: Path, database_url: str, **more: str) -> AsyncIterator[Place]:
    """Provisioning with both doors open; no Kafka is needed for them."""
    files = directory / "authority"
    authority_files.init(files, clock.now())
    port = free_port()
    environment = {
        "DATABASE_URL": database_url,
        "AUTHORITY_DIR": str(files),
        "ENROL_PORT": str(port),
        "ENROL_NAMES": "127.0.0.1,localhost",
        **more,
    }
    async with a_service("provisioning", directory, environment, until_ready=False) as service:

        async def is_open() -> bool:
            return (await service.readiness())[0] > 0

        await until("the door is open", is_open)
        authority = authority_files.load(files)
        yield Place(service, authority, f"https://127.0.0.1:{port}", directory, "tenant-a")


async def add_boxes(db: Any, tenant: str, *boxes: str) -> None:
    """Boxes as an administrator makes them: a site, the box in observe, its agent."""
    await db.execute("insert into tenant (tenant_id, name) values ($1, $1) on conflict do nothing", tenant)
    boxes_in = "from unnest($2::text[]) box"
    for statement in (
        f"insert into site (tenant_id, site_id, name) select $1, box, 'Site of ' || box {boxes_in}",
        f"insert into box (tenant_id, box_id, site_id, source) select $1, box, box, 'admin' {boxes_in}",
        "insert into device (tenant_id, device_id, site_id, box_id, type)"
        f" select $1, box, box, box, 'agent' {boxes_in}",
    ):
        await db.execute(statement, tenant, list(boxes))


async def add_tokens(db: Any, tenant: str, *boxes: str) -> list[str]:
    """An open token for each, as the route would have written it."""
    tokens = [new_token() for _ in boxes]
    await db.execute(
        "insert into enrol_token (token_hash, prefix, tenant_id, box_id, email, expires_at)"
        " select hash, left(token, 8), $1, box, $2, now() + interval '1 hour'"
        " from unnest($3::text[], $4::text[], $5::bytea[]) as t (box, token, hash)",
        tenant,
        EMAIL,
        list(boxes),
        tokens,
        [hash_of(token) for token in tokens],
    )
    return tokens


async def audit_rows(db: Any, action: str) -> list[dict[str, Any]]:
    """What the audit log says of it, the oldest first."""
    rows = await db.fetch("select * from admin_audit where action = $1 order by at", action)
    return [{**dict(row), "detail": json.loads(row["detail"])} for row in rows]


async def raw(place: Place, payload: bytes, *, then_close: bool = False) -> bytes:
    """What the boxes' door answers to these bytes."""
    port = int(place.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=place.a_box().context(place.authority.root)
    )
    writer.write(payload)
    await writer.drain()
    if then_close:
        writer.close()
        return b""
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer
