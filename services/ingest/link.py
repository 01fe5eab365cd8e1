"""One connection to a broker: packets in, bytes out, on a socket of our own.

Not an asyncio transport: those keep bytes of their own (with TLS out of sight), and it must be known when a
command is on the socket and certain that what is not there never will be.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from services.ingest.mqtt_packets import Malformed, split

CONNECT_S: Final = 5.0
READ_BYTES: Final = 262_144
READS: Final = 16
"""At once: TLS hands out 16 KiB each."""
WRITE_BYTES: Final = 65_536
WAIT: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Tls(NamedTuple):
    """Files of a mutual TLS connection, read at each connect: renewed ones count."""

    ca: Path
    certificate: Path
    key: Path


def open_socket(host: str, port: int, tls: Tls | None) -> socket.socket:
    """Connected, and with TLS if asked. Blocks; raises OSError."""
    connection = socket.create_connection((host, port), timeout=CONNECT_S)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.create_default_context(cafile=str(tls.ca))
            context.load_cert_chain(tls.certificate, tls.key)
            connection = context.wrap_socket(connection, server_hostname=host)
    except BaseException:
        connection.close()
        raise
    connection.setblocking(False)
    return connection


class Link:
    """Calls `on_packet` for each packet and `on_end` once, with the reason."""

    def __init__(
        self,
        connection: socket.socket,
        *,
        on_packet: Callable[[int, bytes], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._socket = connection
        self._on_packet = on_packet
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._out = bytearray()
        self._written = 0
        self._is_writing = False
        self._waiting: deque[tuple[int, asyncio.Future[bool]]] = deque()
        self.is_open = True
        self._has_heard = False
        self._loop.add_reader(connection.fileno(), self._read)

    def write(self, data: bytes) -> None:
        """Hand over; goes to the socket together with what else is handed over now."""
        if not self.is_open:
            return
        if not self._is_writing:
            self._is_writing = True
            self._loop.call_soon(self._write)
        self._out += data
        self._written += len(data)

    async def flushed(self, within_s: float) -> bool:
        """Whether all that was handed over is on the socket within so many seconds."""
        if not (self._out and self.is_open):
            return self.is_open
        done: asyncio.Future[bool] = self._loop.create_future()
        self._waiting.append((self._written, done))
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                return await done
        return False

    def heard(self) -> bool:
        """Whether something came since this was asked last."""
        heard, self._has_heard = self._has_heard, False
        return heard

    def end(self, reason: str) -> None:
        """Close; what is not on the socket never will be."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._out.clear()
        self._tell(False)
        self._on_end(reason)

    def _read(self) -> None:
        chunks, ended = [self._rest], ""
        try:
            for _ in range(READS):
                chunk = self._socket.recv(READ_BYTES)
                if not chunk:
                    ended = "the broker closed the connection"
                    break
                chunks.append(chunk)
            else:
                # TLS may hold more, of which the socket says nothing.
                self._loop.call_soon(self._read_more)
        except WAIT:
            pass
        except OSError as error:
            ended = str(error)
        data = b"".join(chunks)
        self._has_heard = self._has_heard or len(chunks) > 1
        try:
            packets, used = split(data)
            self._rest = data[used:]
            for first, body in packets:
                if self.is_open:
                    self._on_packet(first, body)
        except Malformed as error:
            ended = f"the broker does not speak MQTT 5: {error}"
        if ended:
            self.end(ended)

    def _read_more(self) -> None:
        if self.is_open:
            self._read()

    def _write(self) -> None:
        if not self.is_open:
            return
        try:
            while self._out:
                # After a TLS socket said "later" it wants the same bytes again: the front of what waits.
                sent = self._socket.send(self._out[:WRITE_BYTES])
                del self._out[:sent]
        except WAIT:
            self._loop.add_writer(self._socket.fileno(), self._write)
        except OSError as error:
            self.end(str(error))
        else:
            self._loop.remove_writer(self._socket.fileno())
            self._is_writing = False
        self._tell(True)

    def _tell(self, is_sent: bool) -> None:
        there = self._written - len(self._out)
        while self._waiting and (not is_sent or self._waiting[0][0] <= there):
            done = self._waiting.popleft()[1]
            if not done.done():
                done.set_result(is_sent)
