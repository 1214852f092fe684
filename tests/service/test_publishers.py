"""Where events go: nobody waits for the slow."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from asr.decoding.base import Word
from asr.errors import ConfigError
from service.events import Event, Final, Partial
from service.publishers.base import Fanout
from service.publishers.broadcast import Broadcast
from service.publishers.outbox import Outbox
from service.publishers.stdout import JsonPublisher, TextPublisher

PARTIAL = Partial("x", 0, "turn on", 1.0, 1.5, stable=1)
FINAL = Final("x", 0, (Word("turn", 1.0, 1.2, 0.9), Word("off", 1.2, 1.5, 0.7)))
NO_COMMAND = Final("x", 1, FINAL.words, understood=False)


def began(stream: str) -> float:
    return 1000.0


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 30))


def test_text_is_a_line_for_each_final() -> None:
    async def main() -> None:
        publisher = TextPublisher(file, names=True)
        for event in (PARTIAL, FINAL, NO_COMMAND):
            await publisher.publish(event)
        await publisher.aclose()

    file = io.StringIO()
    run(main())
    assert file.getvalue() == "x: turn off\nx: not understood: turn off\n"


def test_json_lines_have_wall_clock_times_and_stable_words() -> None:
    async def main() -> None:
        publisher = JsonPublisher(file, began)
        for event in (PARTIAL, NO_COMMAND):
            await publisher.publish(event)

    file = io.StringIO()
    run(main())
    partial, final = map(json.loads, file.getvalue().splitlines())
    assert partial == {
        "version": 1, "type": "partial", "stream": "x", "utterance": 0, "time": 1001.0,
        "start": 1.0, "end": 1.5, "text": "turn on", "stable": "turn",
    }  # fmt: skip
    assert final["type"] == "final"
    assert final["stable"] == "turn off"
    assert final["understood"] is False
    assert final["confidence"] == 0.8
    assert final["words"][0] == {"word": "turn", "start": 1.0, "end": 1.2, "confidence": 0.9}


def test_a_full_outbox_loses_partials_first_and_tells_of_finals() -> None:
    async def main() -> None:
        outbox: Outbox[str] = Outbox(2)
        assert outbox.put("p1", droppable=True)
        assert outbox.put("f1", droppable=False)
        assert outbox.put("f2", droppable=False)  # for p1
        assert outbox.put("p2", droppable=True)  # lost itself
        assert not outbox.put("f3", droppable=False)  # for f1
        outbox.close()
        assert [await outbox.get() for _ in range(3)] == ["f2", "f3", None]

    run(main())


class Slow:
    """Publishes only once it is let."""

    def __init__(self) -> None:
        self.let, self.found = asyncio.Event(), list[Event]()

    async def publish(self, event: Event) -> None:
        await self.let.wait()
        self.found.append(event)

    async def aclose(self) -> None:
        pass


def test_a_slow_publisher_holds_up_no_other() -> None:
    async def main() -> None:
        slow, quick = Slow(), Slow()
        quick.let.set()
        fanout = Fanout([slow, quick], limit=4)
        fanout.start()
        for _ in range(20):
            await fanout.publish(PARTIAL)
            await fanout.publish(FINAL)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert fanout.lost > 0
        slow.let.set()
        await fanout.aclose()
        assert len(quick.found) == 40
        assert slow.found[1:] == [FINAL] * 4

    run(main())


def test_an_error_of_a_publisher_is_raised_to_the_stream() -> None:
    class Broken(Slow):
        async def publish(self, event: Event) -> None:
            raise BrokenPipeError

    async def main() -> None:
        fanout = Fanout([Broken()])
        fanout.start()
        await fanout.publish(FINAL)
        with pytest.raises(BrokenPipeError):
            await fanout.aclose()

    run(main())


async def connected(broadcast: Broadcast, count: int) -> None:
    """Let the server take the connections that wait."""
    while broadcast.subscribers != count:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0)


def test_subscribers_get_every_event_and_those_who_never_read_are_dropped(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        broadcast = Broadcast(began, limit=4)
        path = tmp_path / "asrd.sock"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        await broadcast.listen_unix(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        port = await broadcast.listen_tcp(0)
        readers = [await asyncio.open_unix_connection(path) for _ in range(5)]
        readers.append(await asyncio.open_connection("127.0.0.1", port))
        lazy = socket.socket(socket.AF_UNIX)
        lazy.connect(str(path))
        await connected(broadcast, 7)
        sent = 0
        while broadcast.subscribers == 7:
            sent += 1
            await broadcast.publish(FINAL)
            for reader, _ in readers:
                assert json.loads(await reader.readline())["text"] == "turn off"
        assert broadcast.subscribers == 6
        assert sent > 4
        await broadcast.publish(NO_COMMAND)
        await broadcast.aclose()
        for reader, writer in readers:
            assert json.loads(await reader.readline())["understood"] is False
            writer.close()
        lazy.close()
        assert not path.exists()

    run(main())


def test_a_socket_in_use_and_other_networks_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "asrd.sock"
        first, second = Broadcast(began), Broadcast(began)
        await first.listen_unix(path)
        with pytest.raises(ConfigError, match="another process"):
            await second.listen_unix(path)
        with pytest.raises(ConfigError, match="loopback"):
            await second.listen_tcp(0, "0.0.0.0")
        await first.aclose()

    run(main())
