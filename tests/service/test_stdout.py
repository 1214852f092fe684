"""Standard output that nobody reads holds up nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from asr.decoding.base import Word
from service.events import Event, Final
from service.publishers.base import Fanout
from service.publishers.stdout import JsonPublisher, TextPublisher
from tests.service.test_listen import Speech, listen
from tests.service.test_process import pcm

__all__ = ["listen"]

FINAL = Final("x", 0, (Word("turn", 1.0, 1.2, 0.9), Word("off", 1.2, 1.5, 0.7)))


def began(stream: str) -> float:
    return 1000.0


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """Its reading end, and the other, which holds 4 kB."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(writer, "w", encoding="ascii", errors="backslashreplace") as file:
        yield reader, file
    os.close(reader)


class Counting:
    """Takes everything at once."""

    def __init__(self) -> None:
        self.count = 0

    async def publish(self, event: Event) -> None:
        self.count += 1

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("kind", ["text", "json"])
def test_a_pipe_that_nobody_reads_holds_up_no_other_publisher(
    pipe: tuple[int, TextIO], kind: str
) -> None:
    reader, file = pipe

    async def main() -> None:
        other = Counting()
        stuck = TextPublisher(file) if kind == "text" else JsonPublisher(file, began)
        fanout = Fanout([stuck, other], limit=8)
        fanout.start()
        for number in range(1000):
            await fanout.publish(FINAL)
            while other.count <= number:  # noqa: ASYNC110 - this is the promise
                await asyncio.sleep(0)
        assert fanout.lost > 0
        await fanout.aclose(0.1)
        assert other.count == 1000

    run(main())
    os.read(reader, 65_536)  # lets the thread go on and end


def test_text_takes_the_files_encoding(pipe: tuple[int, TextIO]) -> None:
    reader, file = pipe

    async def main() -> None:
        publisher = TextPublisher(file, names=True)
        await publisher.publish(Final("Küche", 0, FINAL.words))
        await publisher.aclose()

    file.write("before\n")
    run(main())
    assert os.read(reader, 4096) == b"before\nK\\xfcche: turn off\n"


def test_ctrl_c_finishes_the_last_utterance_though_nobody_reads_stdout(
    listen: Any, speech: Speech, tmp_path: Path
) -> None:
    path = tmp_path / "asrd.sock"
    reader, writer = os.pipe()
    with (
        open(reader, "rb", buffering=0) as out,  # noqa: PTH123 - a descriptor
        listen("--no-gate", "--format", "json", "--socket", path, stdout=writer) as process,
    ):
        process.stdin.write(pcm(speech("a.")))
        process.stdin.flush()
        while b'"final"' not in out.read(65_536):  # once it has come, the socket is there
            pass
        fill(writer)
        os.close(writer)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            lines = client.makefile("rb")
            process.stdin.write(pcm(speech("b.ab c")))
            process.stdin.flush()
            while b'"ab c"' not in lines.readline():
                pass
            process.send_signal(signal.SIGINT)
            last = json.loads(lines.readlines()[-1])
        assert process.wait(60) == 0
        assert process.stderr.read() == b""
    assert (last["type"], last["text"]) == ("final", "ab c")


def fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x")
    os.set_blocking(pipe, True)
