"""Subscribers: the token of the network, sockets of systemd, and many who never read."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from asr.decoding.base import Word
from asr.errors import ConfigError
from service.events import Final
from service.publishers.broadcast import MAX_TOKEN_LINE, Broadcast
from service.publishers.stdout import json_line

TOKEN = "grüße-0123456789"
FINAL = Final("x", 0, (Word("turn", 1.0, 1.2, 0.9), Word("off", 1.2, 1.5, 0.7)))
WRONG = b'{"error": "wrong token"}\n'
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def began(stream: str) -> float:
    return 1000.0


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


async def connected(broadcast: Broadcast, count: int) -> None:
    """Let the server take the connections that wait."""
    while broadcast.subscribers != count:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0)


async def client(port: int, first: bytes = b"") -> Client:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    return reader, writer


def test_who_sends_the_token_first_is_served_and_nothing_is_sent_before() -> None:
    async def main() -> None:
        broadcast = Broadcast(began)
        port = await broadcast.listen_tcp(0, "127.0.0.1", TOKEN)
        known = await client(port, f"{TOKEN}\r\nmore is ignored\n".encode())
        unknown = await client(port)
        await connected(broadcast, 1)
        await broadcast.publish(FINAL)
        assert json.loads(await known[0].readline())["text"] == "turn off"
        unknown[1].write(f"{TOKEN}\n".encode())
        await connected(broadcast, 2)
        await broadcast.aclose()
        assert await unknown[0].read() == b""
        for _, writer in (known, unknown):
            writer.close()

    run(main())


@pytest.mark.parametrize(
    "sent",
    [b"\n", b"fedcba9876543210\n", f"{TOKEN}x\n".encode(), TOKEN.encode()[:-1] + b"\n",
     b"\xff\xfe\n", b'GET / HTTP/1.1\n', b"x" * (MAX_TOKEN_LINE - 1) + b"\n"],
)  # fmt: skip
def test_a_wrong_token_is_told_and_the_connection_closed(sent: bytes) -> None:
    async def main() -> None:
        broadcast = Broadcast(began)
        port = await broadcast.listen_tcp(0, token=TOKEN)
        reader, writer = await client(port, sent)
        assert await reader.read() == WRONG
        assert broadcast.subscribers == 0
        writer.close()
        await broadcast.aclose()

    run(main())


def test_a_line_without_end_is_not_read_to_its_end() -> None:
    async def main() -> None:
        broadcast = Broadcast(began)
        port = await broadcast.listen_tcp(0, token=TOKEN)
        _, writer = await client(port)
        writer.write(b"x" * 20_000_000)
        with pytest.raises(ConnectionError):
            await writer.drain()
        assert broadcast.subscribers == 0
        writer.close()
        await broadcast.aclose()

    run(main())


def test_who_sends_no_token_in_time_is_disconnected() -> None:
    async def main() -> None:
        broadcast = Broadcast(began, token_seconds=0.05)
        port = await broadcast.listen_tcp(0, token=TOKEN)
        reader, writer = await client(port, TOKEN.encode())
        assert await reader.read() == WRONG
        writer.close()
        await broadcast.aclose()

    run(main())


def test_those_without_token_take_no_place_from_those_with() -> None:
    async def main() -> None:
        broadcast = Broadcast(began, max_subscribers=2, max_unknown=3)
        port = await broadcast.listen_tcp(0, token=TOKEN)
        silent = [await client(port) for _ in range(10)]
        known = [await client(port, f"{TOKEN}\n".encode()) for _ in range(2)]
        await connected(broadcast, 2)
        await broadcast.publish(FINAL)
        for reader, _ in known:
            assert json.loads(await reader.readline())["text"] == "turn off"
        for reader, _ in silent[:7]:  # each gave way to a later one
            assert await reader.read() == b""
        await broadcast.aclose()
        for _, writer in (*silent, *known):
            writer.close()

    run(main())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "example.org"])
def test_other_networks_need_a_token(host: str) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="needs a token"):
            await Broadcast(began).listen_tcp(0, host)

    run(main())


def test_with_a_token_other_networks_are_served() -> None:
    async def main() -> None:
        broadcast = Broadcast(began)
        port = await broadcast.listen_tcp(0, "0.0.0.0", TOKEN)
        _, writer = await client(port, f"{TOKEN}\n".encode())
        await connected(broadcast, 1)
        await broadcast.aclose()
        writer.close()

    run(main())


def test_the_path_of_an_inherited_socket_stays(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "asrd.sock"
        with socket.socket(socket.AF_UNIX) as owner:
            owner.bind(str(path))
            owner.listen()
            for _ in range(2):  # a restart of the service
                broadcast = Broadcast(began)
                await broadcast.listen_socket(owner.dup())
                reader, writer = await asyncio.open_unix_connection(path)
                await connected(broadcast, 1)
                await broadcast.publish(FINAL)
                assert json.loads(await reader.readline())["text"] == "turn off"
                await broadcast.aclose()
                writer.close()
                assert path.is_socket()

    run(main())


def test_an_inherited_socket_of_the_network_needs_a_token_too() -> None:
    async def main() -> None:
        broadcast = Broadcast(began)
        with socket.create_server(("0.0.0.0", 0)) as listener:
            with pytest.raises(ConfigError, match="needs a token"):
                await broadcast.listen_socket(listener)
            await broadcast.listen_socket(listener.dup(), TOKEN)
            _, writer = await client(listener.getsockname()[1], f"{TOKEN}\n".encode())
            await connected(broadcast, 1)
            await broadcast.aclose()
            writer.close()

    run(main())


SUBSCRIBERS, LAZY = 200, 20


def test_twenty_who_never_read_delay_none_of_180_others(tmp_path: Path) -> None:
    words = tuple(Word("word", i * 0.5, i * 0.5 + 0.4, 0.9) for i in range(60))  # 5 kB of JSON

    async def main() -> None:
        limit = 16
        broadcast = Broadcast(began, limit=limit)
        path = tmp_path / "asrd.sock"
        await broadcast.listen_unix(path)
        lazy = [socket.socket(socket.AF_UNIX) for _ in range(LAZY)]
        for sleeper in lazy:
            sleeper.connect(str(path))
        readers = [await asyncio.open_unix_connection(path) for _ in range(SUBSCRIBERS - LAZY)]
        await connected(broadcast, SUBSCRIBERS)
        number = most = 0
        while broadcast.subscribers == SUBSCRIBERS:
            final = Final("x", number, words)
            await broadcast.publish(final)
            most = max(most, broadcast.waiting)
            line = json_line(final, began("x")).encode()
            for reader, _ in readers:  # all have this one before the next is sent
                assert await reader.readline() == line
            number += 1
        assert number > 2 * limit  # the lazy ones were there for long
        assert most <= LAZY * limit + SUBSCRIBERS - LAZY
        await connected(broadcast, SUBSCRIBERS - LAZY)
        await broadcast.aclose()
        for _, writer in readers:
            writer.close()
        for sleeper in lazy:
            sleeper.close()

    run(main())
