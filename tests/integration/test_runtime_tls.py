"""The TLS door in one process: who the client is, and that a slow stranger costs nothing."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from services.provisioning.enrolment import authority_files
from services.provisioning.enrolment.authority import Authority, pem
from services.provisioning.enrolment.tls import install_certificate, server_context
from services.runtime import clock
from services.runtime.http import bind, serve

NAMES = ["127.0.0.1"]
WHOLE = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority_files.init(tmp_path / "authority", clock.now())
    return authority_files.load(tmp_path / "authority")


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    return server_context(authority, NAMES)


@pytest.fixture
async def port(context: ssl.SSLContext) -> AsyncIterator[int]:
    async def answer(request: Request) -> PlainTextResponse:
        await request.body()
        return PlainTextResponse("client" if request.state.client_certificate else "stranger")

    app = Starlette(routes=[Route("/", answer, methods=["POST"])])
    listener = bind("127.0.0.1", 0, variable="PORT")
    serving = asyncio.create_task(serve(app, listener, tls=context, request_within_s=0.3))
    yield listener.getsockname()[1]
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


async def answered(port: int, authority: Authority, payload: bytes, client: Path | None = None) -> bytes:
    """All that comes until the server closes the connection."""
    context = ssl.create_default_context(cadata=pem(authority.root))
    if client:
        context.load_cert_chain(client)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(payload)
    try:
        return await asyncio.wait_for(reader.read(), 30)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("payload", [b"", b"POST / HT", WHOLE[:-1], WHOLE[:30]])
async def test_who_does_not_send_a_whole_request_is_dropped(
    port: int, authority: Authority, payload: bytes
) -> None:
    assert await answered(port, authority, payload) == b""


async def test_who_sends_a_request_and_then_half_of_one_is_answered_and_dropped(
    port: int, authority: Authority
) -> None:
    answer = await answered(port, authority, WHOLE + WHOLE[:-1])

    assert answer.count(b"HTTP/1.1 200") == 1


async def test_the_application_knows_its_clients_certificate(
    port: int, authority: Authority, tmp_path: Path
) -> None:
    issued = authority.mint_client("tenant-a/box-1", 5, clock.now())
    (tmp_path / "client.pem").write_bytes(issued.key + issued.certificate)

    assert (await answered(port, authority, WHOLE)).endswith(b"stranger")
    assert (await answered(port, authority, WHOLE, tmp_path / "client.pem")).endswith(b"client")


async def test_the_doors_certificate_is_changed_while_it_is_open(
    port: int, authority: Authority, context: ssl.SSLContext
) -> None:
    async def shown() -> bytes | None:
        ours = ssl.create_default_context(cadata=pem(authority.root))
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=ours)
        certificate: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return certificate

    before = await shown()
    install_certificate(context, authority, NAMES)
    after = await shown()

    assert before
    assert after
    assert before != after
