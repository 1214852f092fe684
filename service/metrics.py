"""Counters of the daemon for Prometheus, over HTTP on this machine.

The text format is a few lines and the page is one: prometheus_client would bring a registry of
its own beside `service.health` and a server in a thread beside the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from asr import __version__

from .health import SourceState

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_REQUEST = 8192
MAX_CONNECTIONS = 16
TIMEOUT = 5.0
"""Seconds for a request to come and for its answer to be taken."""


class Observed(Protocol):
    """What the page is made from."""

    def status(self) -> dict[str, Any]:
        """As `Controlled.status`."""
        ...


class MetricsServer:
    """Serves GET /metrics on the loopback address."""

    def __init__(
        self,
        observed: Observed,
        *,
        max_request: int = MAX_REQUEST,
        max_connections: int = MAX_CONNECTIONS,
        timeout: float = TIMEOUT,
    ) -> None:
        self._observed, self._timeout = observed, timeout
        self._max_request, self._max_connections = max_request, max_connections
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[Any]] = set()

    async def listen(self, port: int) -> int:
        """Serve from now on; gives the port, which is chosen for 0."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", port, limit=self._max_request
        )
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def aclose(self) -> None:
        """Disconnect everyone."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= self._max_connections:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):  # TimeoutError is one
                async with asyncio.timeout(self._timeout):
                    writer.write(await self._answer(reader))
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response("431 Request Header Fields Too Large")
        except asyncio.IncompleteReadError:
            return _response("400 Bad Request")
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response("400 Bad Request")
        method, target, _ = words
        if target.split(b"?")[0] != b"/metrics":
            return _response("404 Not Found")
        if method != b"GET":
            return _response("405 Method Not Allowed", ("Allow: GET",))
        try:
            return _response("200 OK", body=metrics_page(self._observed.status()))
        except Exception:  # a task boundary: who only looks must not end the daemon
            log.exception("the metrics page failed")
            return _response("500 Internal Server Error")


def _response(status: str, headers: tuple[str, ...] = (), body: str = "") -> bytes:
    data = (body or f"{status}\n").encode()
    kind = CONTENT_TYPE if body else "text/plain"
    lines = (
        f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(data)}",
        "Connection: close", *headers,
    )  # fmt: skip
    return "\r\n".join((*lines, "", "")).encode() + data


@dataclass
class _Family:
    """A metric with all its samples."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.samples:
            inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            yield f"{self.name}{{{inner}}} {value}" if labels else f"{self.name} {value}"


_TOTALS = (
    ("heard_seconds", "asrd_audio_heard_seconds_total",
     "Audio taken from the source, silence included."),
    ("decoded_seconds", "asrd_audio_decoded_seconds_total",
     "Audio that passed the gate and was recognised."),
    ("dropped_seconds", "asrd_audio_dropped_seconds_total",
     "Audio lost because nobody took it in time."),
    ("utterances", "asrd_utterances_total", "Utterances that were finished."),
)  # fmt: skip
"""Of a stream: key of the status, metric, help."""


def metrics_page(status: Mapping[str, Any]) -> str:
    """The status in Prometheus' text format; what is not known yet is left out."""
    return "".join(f"{line}\n" for family in _families(status) for line in family.lines())


def _families(status: Mapping[str, Any]) -> Iterator[_Family]:
    build = _Family("asrd_build_info", "gauge", "Always 1; the version is its label.")
    build.samples.append(({"version": __version__}, 1))
    yield build
    for name, kind, text, value in (
        ("asrd_uptime_seconds", "gauge", "Time since the start.", status.get("uptime_seconds")),
        ("asrd_resident_memory_bytes", "gauge", "Memory in use.", _bytes(status.get("memory_mb"))),
        ("asrd_subscribers", "gauge", "Clients that get transcripts.", status.get("subscribers")),
        ("asrd_finals_lost_total", "counter", "Finals that a slow output never got.",
         status.get("lost_finals")),
    ):  # fmt: skip
        if value is not None:
            yield _Family(name, "counter" if kind == "counter" else "gauge", text, [({}, value)])
    streams: Mapping[str, Mapping[str, Any]] = status.get("streams", {})
    for key, name, text in _TOTALS:
        samples = [({"stream": stream}, float(found[key])) for stream, found in streams.items()]
        yield _Family(name, "counter", text, samples)
    yield _Family(
        "asrd_stream_state", "gauge", "1 for the state that the stream's source is in.",
        [
            ({"stream": stream, "state": state}, int(found["state"] == state))
            for stream, found in streams.items() for state in get_args(SourceState)
        ],
    )  # fmt: skip
    yield _Family(
        "asrd_real_time_factor_ratio", "gauge", "Seconds of computing for a second of speech.",
        [({"stream": s}, found["rtf"]) for s, found in streams.items() if found["rtf"] is not None],
    )  # fmt: skip
    yield _Family(
        "asrd_final_latency_seconds", "gauge",
        "From an utterance's end to its text, percentiles of the latest utterances.",
        [
            ({"stream": stream, "percentile": percentile}, seconds)
            for stream, found in streams.items()
            for percentile, seconds in found["latency"].items() if seconds is not None
        ],
    )  # fmt: skip


def _bytes(megabytes: float | None) -> float | None:
    return None if megabytes is None else megabytes * 1e6


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
