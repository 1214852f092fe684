"""The metrics page: strict Prometheus text over cautious HTTP."""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from service.metrics import CONTENT_TYPE, MetricsServer, metrics_page
from tests.service.controlled import FakeDaemon
from tests.service.test_control import run

NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? ([0-9.e+-]+)")
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Labels = frozenset[tuple[str, str]]


def parse(page: str) -> dict[str, dict[Labels, float]]:
    """Samples by metric and labels; fails for whatever the text format does not allow."""
    assert page.endswith("\n")
    found: dict[str, dict[Labels, float]] = {}
    kind = name = ""
    for line in page[:-1].split("\n"):
        if line.startswith("# HELP "):
            _, _, name, text = line.split(" ", 3)
            assert name not in found, f"{name} comes twice"
            assert text.endswith(".")
            found[name], kind = {}, ""
        elif line.startswith("# TYPE "):
            _, _, typed, kind = line.split(" ")
            assert typed == name
            assert kind in ("counter", "gauge")
            assert name.endswith("_total") == (kind == "counter")
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert kind
            assert match[1] == name
            labels = frozenset(
                (key, re.sub(r'\\[\\"n]', lambda m: ESCAPES[m[0]], value))
                for key, value in re.findall(LABEL, match[2] or "")
            )
            assert labels not in found[name], f"{line} comes twice"
            found[name][labels] = float(match[7])
    return found


@asynccontextmanager
async def serving(daemon: Any, **limits: Any) -> AsyncIterator[int]:
    server = MetricsServer(daemon, **limits)
    port = await server.listen(0)
    try:
        yield port
    finally:
        await server.aclose()


def get(port: int, path: str = "/metrics", method: str = "GET") -> tuple[str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read().decode(), response.headers["Content-Type"]


async def exchange(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await reader.read()
    finally:
        writer.close()


def test_the_page_is_what_prometheus_reads() -> None:
    daemon = FakeDaemon('a "b" \\ c\nd', "quiet")
    loud = daemon.health.stream('a "b" \\ c\nd')
    loud.decoded_seconds, loud.compute_seconds, loud.heard_seconds = 20.0, 1.0, 100.5
    loud.utterances, loud.dropped_seconds = 3, 0.25
    loud.latencies.extend([0.1, 0.2, 0.3])

    async def main() -> None:
        async with serving(daemon) as port:
            page, kind = await asyncio.to_thread(get, port)
            assert kind == CONTENT_TYPE
            pages.append(page)

    pages: list[str] = []
    run(main())
    found = parse(pages[0])
    name = ("stream", 'a "b" \\ c\nd')
    assert found["asrd_audio_heard_seconds_total"] == {
        frozenset({name}): 100.5, frozenset({("stream", "quiet")}): 0.0
    }
    assert found["asrd_utterances_total"][frozenset({name})] == 3
    assert found["asrd_audio_dropped_seconds_total"][frozenset({name})] == 0.25
    assert found["asrd_real_time_factor_ratio"] == {frozenset({name}): 0.05}
    assert found["asrd_final_latency_seconds"] == {
        frozenset({name, ("percentile", percentile)}): seconds
        for percentile, seconds in (("p50", 0.2), ("p95", 0.3), ("max", 0.3))
    }
    states = found["asrd_stream_state"]
    assert states[frozenset({name, ("state", "listening")})] == 1
    assert sum(states.values()) == 2
    assert found["asrd_subscribers"] == {frozenset(): 2}
    assert found["asrd_finals_lost_total"] == {frozenset(): 1}
    assert found["asrd_resident_memory_bytes"][frozenset()] > 1e6
    assert found["asrd_build_info"]


def test_a_daemon_without_streams_has_a_page_too() -> None:
    assert "asrd_uptime_seconds" in parse(metrics_page(FakeDaemon().health.document()))


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/", "GET", 404), ("/metrics/x", "GET", 404), ("/metrics", "POST", 405),
     ("/metrics", "HEAD", 405)],
)  # fmt: skip
def test_there_is_one_page_and_it_is_only_read(path: str, method: str, status: int) -> None:
    async def main() -> None:
        async with serving(FakeDaemon()) as port:
            with pytest.raises(urllib.error.HTTPError) as caught:
                await asyncio.to_thread(get, port, path, method)
            assert caught.value.code == status
            caught.value.close()
            await asyncio.to_thread(get, port, "/metrics?x=1")

    run(main())


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n\r\n", b"400"), (b"GET /metrics\r\n\r\n", b"400"),
        (b"GET /metrics SPDY/1\r\n\r\n", b"400"), (b"\xff\x00 \xff \xff\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 10_000, b"431"),
    ],
)
def test_what_is_no_request_is_refused(data: bytes, status: bytes) -> None:
    async def main() -> None:
        async with serving(FakeDaemon()) as port:
            assert (await exchange(port, data)).startswith(b"HTTP/1.1 " + status)

    run(main())


def test_who_sends_nothing_is_disconnected() -> None:
    async def main() -> None:
        async with serving(FakeDaemon(), timeout=0.01) as port:
            with suppress(ConnectionResetError):
                assert await exchange(port, b"GET /metr") == b""

    run(main())


def test_connections_are_few() -> None:
    async def main() -> None:
        async with serving(FakeDaemon(), max_connections=1) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await exchange(port, b"") == b""
            writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()

    run(main())


def test_a_bug_of_the_daemon_is_an_error_page(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeDaemon):
        def status(self) -> dict[str, Any]:
            raise KeyError("x")

    async def main() -> None:
        async with serving(Broken()) as port:
            answer = await exchange(port, b"GET /metrics HTTP/1.1\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 500 ")

    run(main())
    assert "the metrics page failed" in caplog.text
