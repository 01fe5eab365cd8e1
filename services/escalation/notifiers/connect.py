"""Connecting to exactly the address that was checked: the network side of the guard."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import httpcore2

from services.escalation.guard import Policy, check_addresses

Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to addresses; raises OSError."""


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, as the system sees them now."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class PinnedBackend(httpcore2.AsyncNetworkBackend):
    """Resolves, checks every address, connects to one of those; TLS and Host keep the name."""

    def __init__(self, policy: Policy, resolver: Resolve = resolve) -> None:
        self._policy = policy
        self._resolve = resolver
        self._inner: httpcore2.AsyncNetworkBackend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises Blocked, or httpcore2's ConnectError and ConnectTimeout."""
        try:
            found = await self._resolve(host, port)
        except OSError as error:
            raise NameNotFound(host) from error
        failure: httpcore2.ConnectError | None = None
        for address in check_addresses(found, self._policy):
            try:
                return await self._inner.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except httpcore2.ConnectError as error:
                failure = error
        raise failure or httpcore2.ConnectError(f"no address of {host} answered")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """A webhook never leads to a socket of this machine."""
        raise httpcore2.ConnectError(f"unix socket {path} refused")

    async def sleep(self, seconds: float) -> None:
        """What httpcore2 waits with between its own retries, of which there are none."""
        await asyncio.sleep(seconds)


class NameNotFound(httpcore2.ConnectError):
    """The host has no address just now."""
