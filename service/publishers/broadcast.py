"""JSON lines to everyone who connects to a unix or TCP socket."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from asr.errors import ConfigError
from service.events import Event, Partial
from service.output_config import is_loopback
from service.unix_sockets import bound

from .outbox import Outbox
from .stdout import json_line

MAX_SUBSCRIBERS = 1000
MAX_TOKEN_LINE = 4096
WRONG_TOKEN = b'{"error": "wrong token"}\n'


class Broadcast:
    """Subscribers only listen; one that reads too slowly loses partials, then its connection."""

    def __init__(
        self,
        began: Callable[[str], float],
        *,
        limit: int = 64,
        max_subscribers: int = MAX_SUBSCRIBERS,
        max_unknown: int = 32,
        token_seconds: float = 5.0,
    ) -> None:
        """`limit` events wait for each subscriber. `began` as for `JsonPublisher`.

        Of clients that have not sent their token yet, at most `max_unknown` are connected,
        each for `token_seconds` at most; a further one takes the place of the oldest.
        """
        self._began, self._limit, self._max = began, limit, max_subscribers
        self._max_unknown, self._token_seconds = max_unknown, token_seconds
        self._servers: list[asyncio.Server] = []
        self._subscribers: dict[asyncio.Task[None], Outbox[bytes]] = {}
        self._unknown: dict[asyncio.StreamWriter, None] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._path: Path | None = None

    @property
    def subscribers(self) -> int:
        """How many are connected."""
        return len(self._subscribers)

    @property
    def waiting(self) -> int:
        """Events that wait, for all of them together."""
        return sum(map(len, self._subscribers.values()))

    async def listen_unix(self, path: Path) -> None:
        """Serve on a socket file of mode 0660; a stale one is replaced, one in use is not."""
        listener = bound(path)
        self._path = path
        self._servers.append(
            await asyncio.start_unix_server(self._serve, sock=listener, backlog=self._max)
        )

    async def listen_tcp(self, port: int, host: str = "127.0.0.1", token: str = "") -> int:
        """Serve on an address, beyond loopback to clients with the token only. Gives the port."""
        if not token and not is_loopback(host):
            raise ConfigError(f"{host} is no loopback address, which needs a token")
        server = await asyncio.start_server(
            partial(self._serve, token=token), host.strip("[]"), port,
            limit=MAX_TOKEN_LINE, backlog=self._max,
        )  # fmt: skip
        self._servers.append(server)
        found: int = server.sockets[0].getsockname()[1]
        return found

    async def listen_socket(self, listener: socket.socket, token: str = "") -> None:
        """Serve on a listening socket that the service manager owns: its path stays."""
        if listener.family != socket.AF_UNIX and not token:
            host = listener.getsockname()[0]
            if not is_loopback(host):
                raise ConfigError(f"{host} is no loopback address, which needs a token")
        # not start_unix_server, which from Python 3.13 on removes the path
        server = await asyncio.start_server(
            partial(self._serve, token=token), sock=listener,
            limit=MAX_TOKEN_LINE, backlog=self._max,
        )  # fmt: skip
        self._servers.append(server)

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
        for writer in self._unknown:
            writer.transport.abort()
        tasks = list(self._subscribers)
        for outbox in self._subscribers.values():
            outbox.close()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=1.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._connections:
            await asyncio.wait(self._connections, timeout=1.0)
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, token: str = ""
    ) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        if token and not await self._sent(token, reader, writer):
            writer.write(WRONG_TOKEN)
            writer.close()
            return
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

    async def _sent(
        self, token: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if len(self._unknown) >= self._max_unknown:
            oldest = next(iter(self._unknown))
            del self._unknown[oldest]
            oldest.transport.abort()
        self._unknown[writer] = None
        line = b""
        with contextlib.suppress(
            TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(self._token_seconds):
                line = await reader.readuntil()
        self._unknown.pop(writer, None)
        return hmac.compare_digest(line.rstrip(b"\r\n"), token.encode())

    async def _send(self, outbox: Outbox[bytes], writer: asyncio.StreamWriter) -> None:
        while (line := await outbox.get()) is not None:
            writer.write(line)
            await writer.drain()


async def _read_to_end(reader: asyncio.StreamReader) -> None:
    """Wait until the other side closes; what it sends is thrown away."""
    with contextlib.suppress(OSError):
        while await reader.read(4096):
            pass
