"""JSON lines to everyone who connects to a unix or TCP socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from asr.errors import ConfigError
from service.events import Event, Partial

from .outbox import Outbox
from .stdout import json_line

MAX_SUBSCRIBERS = 1000


class Broadcast:
    """Subscribers only listen; one that reads too slowly loses partials, then its connection."""

    def __init__(
        self,
        began: Callable[[str], float],
        *,
        limit: int = 64,
        max_subscribers: int = MAX_SUBSCRIBERS,
    ) -> None:
        """`limit` events wait for each subscriber. `began` as for `JsonPublisher`."""
        self._began, self._limit, self._max = began, limit, max_subscribers
        self._servers: list[asyncio.Server] = []
        self._subscribers: dict[asyncio.Task[None], Outbox[bytes]] = {}
        self._path: Path | None = None

    @property
    def subscribers(self) -> int:
        """How many are connected."""
        return len(self._subscribers)

    async def listen_unix(self, path: Path) -> None:
        """Serve on a socket file of mode 0660; a stale one is replaced, one in use is not."""
        listener = _bound(path)
        self._path = path
        self._servers.append(await asyncio.start_unix_server(self._serve, sock=listener))

    async def listen_socket(self, listener: socket.socket) -> None:
        """Serve on a socket that listens already and stays its owner's: systemd's, say."""
        # not start_unix_server: from Python 3.13 on that unlinks the path in the end
        self._servers.append(await asyncio.start_server(self._serve, sock=listener))

    async def listen_tcp(self, port: int, host: str = "127.0.0.1", token: str = "") -> int:
        """Serve on a loopback address: there is no authentication. Gives the port."""
        if token:
            raise ConfigError("tokens of TCP subscribers are on their way")
        if not ip_address(host).is_loopback:
            raise ConfigError(f"{host} is no loopback address")
        server = await asyncio.start_server(self._serve, host, port)
        self._servers.append(server)
        found: int = server.sockets[0].getsockname()[1]
        return found

    async def publish(self, event: Event) -> None:
        """Never waits for anyone."""
        line = json_line(event, self._began(event.stream)).encode()
        for task, outbox in list(self._subscribers.items()):
            if not outbox.put(line, droppable=isinstance(event, Partial)):
                task.cancel()

    async def aclose(self) -> None:
        """Send what waits, for a second at most, and disconnect everyone."""
        for server in self._servers:
            server.close()
        tasks = list(self._subscribers)
        for outbox in self._subscribers.values():
            outbox.close()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=1.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._subscribers) >= self._max:
            writer.transport.abort()
            return
        writer.transport.set_write_buffer_limits(high=0)  # what waits, waits in the outbox
        outbox: Outbox[bytes] = Outbox(self._limit)
        sending = asyncio.create_task(self._send(outbox, writer))
        self._subscribers[sending] = outbox
        gone = asyncio.create_task(_read_to_end(reader))
        await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        for task in (sending, gone):
            task.cancel()
        await asyncio.gather(sending, gone, return_exceptions=True)
        del self._subscribers[sending]
        writer.transport.abort()

    async def _send(self, outbox: Outbox[bytes], writer: asyncio.StreamWriter) -> None:
        while (line := await outbox.get()) is not None:
            writer.write(line)
            await writer.drain()


async def _read_to_end(reader: asyncio.StreamReader) -> None:
    """Wait until the other side closes; what it sends is thrown away."""
    with contextlib.suppress(OSError):
        while await reader.read(4096):
            pass


def _bound(path: Path) -> socket.socket:
    if path.is_socket():
        if _answers(path):
            raise ConfigError(f"{path}: another process serves this socket")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o117)  # so that it never has another mode
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.umask(mask)
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True
