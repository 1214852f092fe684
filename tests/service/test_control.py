"""The control socket: each request answered, each mistake told to whoever made it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr.errors import ConfigError
from service.control import Controlled, ControlServer
from tests.service.controlled import FakeDaemon


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 120))


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, **request: Any) -> dict[str, Any]:
        return await self.say(json.dumps(request).encode() + b"\n")

    async def say(self, data: bytes) -> dict[str, Any]:
        self.writer.write(data)
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        line = await self.reader.readline()
        assert line.endswith(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@asynccontextmanager
async def served(daemon: Controlled, path: Path, **limits: int) -> AsyncIterator[ControlServer]:
    server = ControlServer(daemon, **limits)
    await server.listen_unix(path)
    try:
        yield server
    finally:
        await server.aclose()


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_unix_connection(path))
    try:
        yield client
    finally:
        await client.close()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "asrd-control.sock"


def test_requests_reach_the_daemon_and_are_answered_in_order(path: Path) -> None:
    async def main() -> None:
        daemon = FakeDaemon("kitchen")
        async with served(daemon, path), connected(path) as client:
            assert mode_of(path) == 0o660
            found = await client.ask(action="status")
            assert found["ok"]
            assert found["status"]["streams"]["kitchen"]["state"] == "listening"
            assert await client.ask(action="flush") == {"ok": True}
            assert await client.ask(action="mute", stream="kitchen") == {"ok": True}
            assert await client.ask(action="unmute", stream=None) == {"ok": True}
            assert daemon.asked == [("flush", None), ("mute", "kitchen"), ("unmute", None)]
            client.writer.write(b'{"action": "mute"}\n{"action": "flush"}')
            client.writer.write_eof()  # the last line need not be ended
            assert [await client.answer(), await client.answer()] == [{"ok": True}] * 2
            assert daemon.asked[3:] == [("mute", None), ("flush", None)]
            assert await client.reader.read() == b""

    run(main())
    assert not path.exists()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"status", "not a line of JSON"),
        (b"", "not a line of JSON"),
        (b"\xff\xfe", "not a line of JSON"),
        (b"[" * 5000, "not a line of JSON"),
        (b"[1]", "a request is a JSON object"),
        (b"{}", "action must be one of status, flush, mute, unmute, talk, audio, got None"),
        (b'{"action": ["mute"]}', "action must be one of status, flush, mute"),
        (b'{"action": "reboot"}', "got 'reboot'"),
        (b'{"action": "mute", "strem": "x"}', "unknown key 'strem'; did you mean 'stream'?"),
        (b'{"action": "status", "stream": "x"}', "unknown key 'stream'"),
        (b'{"action": "mute", "stream": 5}', "stream must be a string, got 5"),
        (b'{"action": "mute", "stream": "attic"}', "no stream 'attic'"),
        (b'{"action": "talk"}', "missing key 'on'"),
        (b'{"action": "talk", "on": 1}', "on must be true or false, got 1"),
        (b'{"action": "mute", "stream": "' + b"x" * 60_000 + b'"}', "no stream 'xxx"),
        (b"x" * 70_000, "a line is longer than 65536 bytes"),
        (b"x" * 300_000, "a line is longer than 65536 bytes"),
    ],
)  # fmt: skip
def test_a_mistake_costs_one_line_and_not_the_connection(
    path: Path, line: bytes, reason: str
) -> None:
    async def main() -> None:
        daemon = FakeDaemon("kitchen")
        async with served(daemon, path), connected(path) as client:
            found = await client.say(line + b"\n")
            assert found.keys() == {"ok", "error"}
            assert found["ok"] is False
            assert reason in found["error"]
            assert len(found["error"]) <= 200
            assert daemon.asked == []
            assert (await client.ask(action="status"))["ok"]

    run(main())


def test_a_bug_of_the_daemon_ends_neither_it_nor_the_connection(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeDaemon):
        def status(self) -> dict[str, Any]:
            raise KeyError("x")

    async def main() -> None:
        async with served(Broken("kitchen"), path), connected(path) as client:
            assert (await client.ask(action="status"))["error"] == "internal error: KeyError"
            assert await client.ask(action="mute") == {"ok": True}

    run(main())
    assert "a control request failed" in caplog.text


def test_too_many_connections_are_told_so(path: Path) -> None:
    async def main() -> None:
        async with served(FakeDaemon(), path, max_connections=1), connected(path) as first:
            assert (await first.ask(action="status"))["ok"]
            async with connected(path) as second:
                assert (await second.answer())["error"] == "too many connections"
                assert await second.reader.read() == b""
            assert (await first.ask(action="status"))["ok"]

    run(main())


def test_a_client_that_reads_no_answers_holds_up_no_other(path: Path) -> None:
    async def main() -> None:
        async with served(FakeDaemon("kitchen"), path), connected(path) as client:
            lazy = socket.socket(socket.AF_UNIX)
            lazy.connect(str(path))
            lazy.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    lazy.send(b'{"action": "status"}\n' * 1000)
                    await client.ask(action="status")
            assert (await client.ask(action="status"))["ok"]
            lazy.close()

    run(main())


def test_push_to_talk_is_released_when_its_connection_goes_away(path: Path) -> None:
    async def main() -> None:
        daemon = FakeDaemon("kitchen")
        async with served(daemon, path):
            async with connected(path) as client:
                assert await client.ask(action="talk", stream="kitchen", on=True) == {"ok": True}
                assert daemon.asked == [("talk", "kitchen")]
            await daemon.until(("talk", "kitchen"), ("quiet", "kitchen"))

    run(main())


def test_push_to_talk_that_is_kept_outlives_its_connection(path: Path) -> None:
    async def main() -> None:
        daemon = FakeDaemon("kitchen")
        async with served(daemon, path):
            async with connected(path) as client:
                assert (await client.ask(action="talk", on=True, keep=True))["ok"]
            async with connected(path) as client:
                assert daemon.asked == [("talk", None)]
                assert (await client.ask(action="talk", on=False))["ok"]
            assert daemon.asked == [("talk", None), ("quiet", None)]

    run(main())


def test_a_socket_of_systemd_is_served_and_its_file_stays(path: Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            server = ControlServer(FakeDaemon())
            await server.listen_socket(listener)
            async with connected(path) as client:
                assert (await client.ask(action="status"))["ok"]
                await server.aclose()
                assert await client.reader.read() == b""

    run(main())
    assert path.is_socket()


def test_a_socket_in_use_and_the_network_are_refused(path: Path) -> None:
    async def main() -> None:
        async with served(FakeDaemon(), path) as server:
            with pytest.raises(ConfigError, match="another process serves"):
                await ControlServer(FakeDaemon()).listen_unix(path)
            with (
                socket.create_server(("127.0.0.1", 0)) as tcp,
                pytest.raises(ConfigError, match="must be a unix stream socket"),
            ):
                await server.listen_socket(tcp)

    run(main())


def pcm(*values: int) -> bytes:
    return np.array(values, "<i2").tobytes()


def test_a_connection_becomes_a_stream_to_its_end(path: Path) -> None:
    async def main() -> None:
        daemon = FakeDaemon()
        async with served(daemon, path), connected(path) as client:
            request = b'{"action": "audio", "stream": "phone", "rate": 8000, "channels": 2}\n'
            data = pcm(100, 300, -200, 0)
            assert await client.say(request + data[:3]) == {"ok": True}
            client.writer.write(data[3:] + b"\0")  # an odd byte is no sample
            client.writer.write_eof()
            assert await client.answer() == {"ok": True}
            assert await client.reader.read() == b""
            assert daemon.asked == [("hear", "phone"), ("heard", "phone")]
            assert daemon.rates == {"phone": 8000}
            heard = np.concatenate(daemon.heard["phone"]) * 32768
            assert heard.tolist() == [200, -100]

    run(main())


def test_a_name_is_free_again_when_its_stream_has_ended(path: Path) -> None:
    async def main() -> None:
        daemon = FakeDaemon("kitchen")
        async with served(daemon, path):
            for _ in range(2):
                async with connected(path) as client:
                    assert (await client.ask(action="audio", stream="phone"))["ok"]
                    async with connected(path) as other:
                        found = await other.ask(action="audio", stream="phone")
                        assert found["error"] == "there is a stream 'phone' already"
                        assert await other.reader.read() == b""
                    client.writer.write_eof()
                    assert (await client.answer())["ok"]
            async with connected(path) as client:
                found = await client.ask(action="audio", stream="kitchen")
                assert found["error"] == "there is a stream 'kitchen' already"

    run(main())


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({}, "missing key 'stream'"),
        ({"stream": " "}, "stream must be a printable name"),
        ({"stream": "a\nb"}, "stream must be a printable name"),
        ({"stream": "x" * 65}, "stream must be a printable name"),
        ({"stream": "x", "rate": 7999}, "rate must be from 8000 to 192000 Hz, got 7999"),
        ({"stream": "x", "rate": 16000.5}, "rate must be a whole number"),
        ({"stream": "x", "channels": 0}, "channels must be from 1 to 8, got 0"),
        ({"stream": "x", "channels": 9}, "channels must be from 1 to 8, got 9"),
        ({"stream": "x", "channels": True}, "channels must be a whole number"),
    ],
)
def test_audio_that_cannot_be_is_refused(
    path: Path, request_: dict[str, Any], reason: str
) -> None:
    async def main() -> None:
        daemon = FakeDaemon()
        async with served(daemon, path), connected(path) as client:
            client.writer.write(json.dumps({"action": "audio"} | request_).encode() + b"\n")
            client.writer.write(b"\0\n" * 1000)  # its audio, sent without waiting
            assert reason in (await client.answer())["error"]
            with contextlib.suppress(ConnectionResetError):
                assert await client.reader.read() == b""
            assert daemon.heard == {}

    run(main())


def test_only_so_many_clients_send_audio(path: Path) -> None:
    async def main() -> None:
        daemon = FakeDaemon()
        async with served(daemon, path, max_audio=1), connected(path) as first:
            assert (await first.ask(action="audio", stream="a"))["ok"]
            async with connected(path) as second:
                found = await second.ask(action="audio", stream="b")
                assert found["error"] == "1 clients send audio already"
            first.writer.write_eof()
            assert (await first.answer())["ok"]
            async with connected(path) as third:
                assert (await third.ask(action="audio", stream="b"))["ok"]

    run(main())


def test_a_client_that_vanishes_ends_its_stream(path: Path) -> None:
    async def main() -> None:
        daemon = FakeDaemon()
        async with served(daemon, path):
            async with connected(path) as client:
                assert (await client.ask(action="audio", stream="a"))["ok"]
                client.writer.write(pcm(1))
            await daemon.until(("hear", "a"), ("heard", "a"))

    run(main())


def test_audio_that_the_recogniser_is_too_slow_for_waits_in_the_client(path: Path) -> None:
    async def main() -> None:
        daemon = FakeDaemon()
        daemon.listens.clear()
        async with served(daemon, path):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.setblocking(False)
                client.send(b'{"action": "audio", "stream": "a"}\n')
                await daemon.until(("hear", "a"))
                sent, waits = 0, 0
                while waits < 1000:  # turns of the loop in which nothing was taken
                    try:
                        sent += client.send(bytes(65_536))
                        waits = 0
                    except BlockingIOError:
                        waits += 1
                    await asyncio.sleep(0)
                assert 0 < sent < 4_000_000
                assert sum(map(len, daemon.heard["a"])) <= 1600
                daemon.listens.set()
                client.shutdown(socket.SHUT_WR)
                await daemon.until(("hear", "a"), ("heard", "a"))
                assert sum(map(len, daemon.heard["a"])) == sent // 2

    run(main())


def test_a_stream_that_fails_tells_its_client(path: Path) -> None:
    class Deaf(FakeDaemon):
        async def hear(self, inlet: Any) -> None:
            raise ConfigError("no room for another stream")

    async def main() -> None:
        async with served(Deaf(), path), connected(path) as client:
            assert (await client.ask(action="audio", stream="a"))["ok"]
            assert (await client.answer())["error"] == "no room for another stream"
            assert await client.reader.read() == b""

    run(main())
