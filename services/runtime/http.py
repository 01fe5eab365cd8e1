"""Serving HTTP inside a process that does other things too: uvicorn without its hands on the signals."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # run_until_stopped alone owns signals.
        yield


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


async def serve(app: Any, listener: socket.socket) -> None:
    """Serve an ASGI application until cancelled."""
    server = _Server(
        # By default uvicorn lets X-Forwarded-For of a local caller replace the socket's address.
        uvicorn.Config(
            app,
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
