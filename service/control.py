"""The control socket: what clients may ask of the running daemon."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from asr.errors import AsrError, ConfigError

from .control_requests import (
    MAX_LINE,
    AudioRefused,
    AudioRequest,
    RequestError,
    StatusRequest,
    StreamRequest,
    TalkRequest,
    parse_request,
    refusal,
    reply,
)
from .push_to_talk import KEPT, PushToTalk
from .sources.base import Inlet
from .sources.connection import ConnectionInlet
from .unix_sockets import bound

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
MAX_AUDIO = 8
SILENT_STATES = ("ended", "failed")
"""Of a stream whose name another one may take."""


class Controlled(Protocol):
    """What the daemon offers to its control socket.

    `stream` names one of its streams, None all of them. UnknownStreamError for another name.
    """

    def status(self) -> dict[str, Any]:
        """Everything there is to know about its health, as JSON."""
        ...

    def flush(self, stream: str | None) -> None:
        """End the utterance now, without waiting for silence."""
        ...

    def mute(self, stream: str | None) -> None:
        """Hear nothing until `unmute`; what was being said is dropped, not finished."""
        ...

    def unmute(self, stream: str | None) -> None:
        """Hear again, with fresh acoustics."""
        ...

    def talk(self, stream: str | None, *, on: bool) -> None:
        """Push-to-talk: `on`, all audio is speech whatever the detector thinks and no silence
        ends the utterance; off again, it is finished at once."""
        ...

    async def hear(self, inlet: Inlet) -> None:
        """Run a client's audio as one more stream, to its end."""
        ...


class ControlServer:
    """Answers control clients on unix sockets; whatever they send, only they are told."""

    def __init__(
        self,
        controlled: Controlled,
        *,
        max_line: int = MAX_LINE,
        max_connections: int = MAX_CONNECTIONS,
        max_audio: int = MAX_AUDIO,
    ) -> None:
        """`max_audio` connections at once may be sources of audio."""
        self._controlled, self._talk = controlled, PushToTalk(controlled.talk)
        self._max_line, self._max_connections, self._max_audio = (
            max_line, max_connections, max_audio,
        )  # fmt: skip
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[Any]] = set()
        self._audio: dict[str, asyncio.Task[Any]] = {}
        self._path: Path | None = None

    async def listen_unix(self, path: Path) -> None:
        """Serve on a socket file of mode 0660; a stale one is replaced, one in use is not."""
        listener = bound(path)
        self._path = path
        await self.listen_socket(listener)

    async def listen_socket(self, listener: socket.socket) -> None:
        """Serve on a unix socket that someone else has opened; its file stays in the end."""
        if listener.family != socket.AF_UNIX or listener.type != socket.SOCK_STREAM:
            raise ConfigError("the control socket must be a unix stream socket")
        # not start_unix_server: from Python 3.13 on that would unlink the file
        server = await asyncio.start_server(self._serve, sock=listener, limit=self._max_line)
        self._servers.append(server)

    async def aclose(self, seconds: float = 1.0) -> None:
        """Disconnect everyone; audio that is ending gets so long to do so."""
        for server in self._servers:
            server.close()
        if self._audio:
            await asyncio.wait(self._audio.values(), timeout=seconds)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._connections) >= self._max_connections:
                writer.write(refusal("too many connections"))
                return
            self._connections.add(task)
            await self._converse(task, reader, writer)
        except (ConnectionError, asyncio.CancelledError):  # the client, or we, are going
            pass
        finally:
            writer.close()
            self._connections.discard(task)
            self._talk.let_go(task)

    async def _converse(
        self, task: asyncio.Task[Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        done = False
        while not done:
            try:
                line = await self._read_line(reader)
                if not line:
                    return
                request = parse_request(line)
                if isinstance(request, AudioRequest):
                    done = True  # whatever comes of it, no more lines follow
                    answer = await self._hear(task, request, reader, writer)
                else:
                    answer = self._answer(task, request)
            except (AsrError, OSError) as error:
                done = done or isinstance(error, AudioRefused)
                answer = refusal(str(error))
            except Exception as error:  # a task boundary: one client must not end the daemon
                log.exception("a control request failed")
                answer = refusal(f"internal error: {type(error).__name__}")
            writer.write(answer)
            await writer.drain()

    async def _read_line(self, reader: asyncio.StreamReader) -> bytes:
        """The next line, empty at the end; RequestError, once it is past, for one too long."""
        too_long = False
        while True:
            try:
                line = await reader.readuntil(b"\n")
                break
            except asyncio.LimitOverrunError as error:
                too_long = True
                await reader.readexactly(error.consumed)
            except asyncio.IncompleteReadError as error:
                line = error.partial  # the last one need not be ended
                break
        if too_long:
            raise RequestError(f"a line is longer than {self._max_line} bytes")
        return line

    def _answer(
        self, task: asyncio.Task[Any], request: StatusRequest | StreamRequest | TalkRequest
    ) -> bytes:
        if isinstance(request, StatusRequest):
            return reply(status=self._controlled.status())
        if isinstance(request, TalkRequest):
            change = self._talk.press if request.on else self._talk.release
            change(request.stream, KEPT if request.keep and request.on else task)
            return reply()
        actions: dict[str, Callable[[str | None], None]] = {
            "flush": self._controlled.flush,
            "mute": self._controlled.mute,
            "unmute": self._controlled.unmute,
        }
        actions[request.action](request.stream)
        return reply()

    async def _hear(
        self,
        task: asyncio.Task[Any],
        request: AudioRequest,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bytes:
        name = request.stream
        streams = self._controlled.status().get("streams", {})
        taken = name in streams and streams[name].get("state") not in SILENT_STATES
        if taken or name in self._audio:
            raise RequestError(f"there is a stream {name!r} already")
        if len(self._audio) >= self._max_audio:
            raise RequestError(f"{self._max_audio} clients send audio already")
        self._audio[name] = task
        try:
            writer.write(reply())
            await self._controlled.hear(
                ConnectionInlet(name, request.rate, request.channels, reader)
            )
        finally:
            del self._audio[name]
        return reply()
