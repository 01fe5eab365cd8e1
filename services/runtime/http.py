"""Serving HTTP inside a process that does other things too: uvicorn without its hands on the signals.

Over TLS an application finds its client's certificate in `request.state.client_certificate` (DER, or None).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_WITHIN_S: Final = 30.0
"""A client of a TLS door that has not sent a whole request by then is dropped: strangers cost nothing."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # run_until_stopped alone owns signals.
        yield


class _TlsProtocol(H11Protocol):
    def __init__(self, *arguments: Any, request_within_s: float, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._request_within_s = request_within_s

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # uvicorn copies this state into each request of the connection, and says nothing of its TLS.
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        self.app_state = {**self.app_state, "client_certificate": tls.getpeercert(binary_form=True)}
        super().connection_made(transport)
        self._drop_if_slow_later()

    def _drop_if_slow_later(self) -> None:
        self.loop.call_later(self._request_within_s, self._drop_if_slow)

    def _drop_if_slow(self) -> None:
        if self.transport.is_closing():
            return
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self.transport.abort()
        else:
            self._drop_if_slow_later()


def bind(host: str, port: int, *, variable: str) -> socket.socket:
    """A listening socket, or an exit that names the variable to change."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise SystemExit(
            f"Error: cannot listen on {host}:{port} ({error.strerror}). "
            f"Stop what runs there, or set {variable}."
        ) from error
    listener.listen(2048)
    listener.setblocking(False)
    return listener


async def serve(
    app: Any,
    listener: socket.socket,
    *,
    tls: ssl.SSLContext | None = None,
    request_within_s: float = REQUEST_WITHIN_S,
) -> None:
    """Serve an ASGI application until cancelled, over TLS if there is a context."""
    server = _Server(
        # By default uvicorn lets X-Forwarded-For of a local caller replace the socket's address.
        uvicorn.Config(
            app,
            http=partial(_TlsProtocol, request_within_s=request_within_s) if tls else "auto",  # type: ignore[arg-type]
            ssl_context_factory=(lambda config, default: tls) if tls else None,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=3,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    finally:
        # Asked rather than cancelled: open requests end, and no traceback of a cancelled lifespan is logged.
        server.should_exit = True
        await serving
