"""A program for each final: real processes, and what becomes of bad ones."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr.decoding.base import Word
from asr.errors import ConfigError
from service.events import Final, Partial
from service.publishers.command import CommandPublisher

SECRET = "nobody"
WORDS = (Word("for", 1.0, 1.2, 0.9), Word(SECRET, 1.2, 1.5, 0.7))
PARTIAL = Partial("x", 0, "turn on", 1.0, 1.5)
FINAL = Final("x", 0, WORDS)
COMMAND = Final("x", 1, WORDS, understood=True)
NO_COMMAND = Final("x", 2, WORDS, understood=False)

Program = Callable[[str], list[str]]


@pytest.fixture
def program() -> Program:
    """The command line of a few lines of Python, quick to start."""
    return lambda code: [sys.executable, "-I", "-S", "-c", f"import os, sys, time\n{code}"]


def began(stream: str) -> float:
    return 1000.0


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


async def lines(path: Path, count: int) -> list[str]:
    """What a program has written, once it is so many lines."""
    while len(found := _lines(path)) < count:  # noqa: ASYNC110 - a process tells nobody
        await asyncio.sleep(0.01)
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def append(path: Path, what: str) -> str:
    return f"open({str(path)!r}, 'a').write({what} + '\\n')\n"


def test_each_final_is_the_input_of_a_program(tmp_path: Path, program: Program) -> None:
    async def main() -> None:
        publisher = CommandPublisher(
            program(append(path, "sys.stdin.read().strip()")), began, concurrency=1
        )
        for event in (PARTIAL, FINAL, NO_COMMAND):
            await publisher.publish(event)
        found = list(map(json.loads, await lines(path, 2)))
        assert [event["utterance"] for event in found] == [0, 2]
        assert [event["text"] for event in found] == [f"for {SECRET}"] * 2
        await publisher.aclose()

    path = tmp_path / "out"
    run(main())


def test_only_commands_are_passed_on_where_so_wanted(tmp_path: Path, program: Program) -> None:
    async def main() -> None:
        publisher = CommandPublisher(
            program(append(path, "sys.stdin.read().strip()")), began, only="understood"
        )
        for event in (NO_COMMAND, FINAL, COMMAND):
            await publisher.publish(event)
        assert [json.loads(line)["utterance"] for line in await lines(path, 1)] == [1]
        await publisher.aclose()

    path = tmp_path / "out"
    run(main())


def test_arguments_are_no_shell_and_the_daemons_own_variables_stay_with_it(
    tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        argv = [*program(append(path, "repr((sys.argv[1:], sorted(os.environ)))")), "$HOME; false"]
        publisher = CommandPublisher(argv, began)
        await publisher.publish(FINAL)
        arguments, names = eval((await lines(path, 1))[0])
        assert arguments == ["$HOME; false"]
        assert "ASRD_TEST" in names
        assert not [n for n in names if n.startswith(("NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_"))]
        await publisher.aclose()

    for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "ASRD_TEST"):
        monkeypatch.setenv(name, "1")
    path = tmp_path / "out"
    run(main())


def test_no_such_program_is_told_at_the_start() -> None:
    for argv in ([], [""], ["no-such-program"], ["/no/such/program"]):
        with pytest.raises(ConfigError, match="no such program: '") as caught:
            CommandPublisher(argv, began)
        assert caught.value.key == "outputs.command.run"


@pytest.mark.parametrize(
    ("code", "level", "message"),
    [
        ("sys.exit(3)", logging.INFO, "exit status 3"),
        ("os.kill(os.getpid(), 15)", logging.INFO, "killed by signal 15"),
        ("sys.stderr.write('a\\nb\\n')\nsys.exit(3)", logging.DEBUG, "exit status 3"),
    ],
)
def test_failures_are_logged_without_what_was_said(
    program: Program, caplog: pytest.LogCaptureFixture, code: str, level: int, message: str
) -> None:
    async def main() -> None:
        publisher = CommandPublisher(program(code), began)
        await publisher.publish(FINAL)
        while len(caplog.records) < (2 if level == logging.DEBUG else 1):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await publisher.aclose()

    caplog.set_level(level, "service.publishers.command")
    run(main())
    first, *rest = caplog.records
    assert (first.levelname, first.getMessage()) == ("WARNING", f"{sys.executable}: {message}")
    said = [f"{sys.executable}: b"] if level == logging.DEBUG else []
    assert [record.getMessage() for record in rest] == said
    assert all(record.levelname == "DEBUG" for record in rest)
    assert SECRET not in caplog.text


class Hanging:
    """A program and its child that hang, and whether both are dead."""

    def __init__(self, folder: Path) -> None:
        fifo = folder / "fifo"
        os.mkfifo(fifo)
        self._reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self._writer = os.open(fifo, os.O_WRONLY)
        os.set_blocking(self._reader, True)
        self.code = f"os.fork()\nos.write(os.open({str(fifo)!r}, 1), b'x')\ntime.sleep(600)"

    async def begun(self) -> None:
        """Until both hold the pipe."""
        try:
            for _ in range(2):
                assert await asyncio.to_thread(os.read, self._reader, 1) == b"x"
        finally:
            os.close(self._writer)

    async def dead(self) -> None:
        """Until neither does."""
        assert await asyncio.to_thread(os.read, self._reader, 1) == b""
        os.close(self._reader)


def test_a_program_that_hangs_is_killed_with_all_that_it_started(
    tmp_path: Path, program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        hanging = Hanging(tmp_path)
        publisher = CommandPublisher(program(hanging.code), began, timeout=5.0)
        await publisher.publish(FINAL)
        await hanging.begun()
        await hanging.dead()
        while publisher.running:  # noqa: ASYNC110 - a process tells nobody
            await asyncio.sleep(0.01)
        await publisher.aclose()

    run(main())
    assert caplog.messages == [f"{sys.executable}: killed after 5 s"]


def test_at_shutdown_programs_get_a_moment_and_are_killed_then(
    tmp_path: Path, program: Program
) -> None:
    async def main() -> None:
        hanging = Hanging(tmp_path)
        publisher = CommandPublisher(program(hanging.code), began)
        await publisher.publish(FINAL)
        await hanging.begun()
        await publisher.aclose()
        await hanging.dead()

    run(main())


def test_programs_that_are_too_slow_lose_the_oldest(
    tmp_path: Path, program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        publisher = CommandPublisher(
            program(append(path, "sys.stdin.read().strip()")), began, concurrency=1, waiting=2
        )
        for number in range(5):
            await publisher.publish(Final("x", number, WORDS))
        assert publisher.dropped == 3
        assert [json.loads(line)["utterance"] for line in await lines(path, 2)] == [3, 4]
        await publisher.aclose()

    path = tmp_path / "out"
    run(main())
    assert caplog.messages[-1] == f"{sys.executable}: too slow, 3 finals dropped so far"
    assert SECRET not in caplog.text


def test_so_many_run_at_once_and_no_more(tmp_path: Path, program: Program) -> None:
    async def main() -> None:
        publisher = CommandPublisher(
            program(append(path, "'begun'") + "time.sleep(600)"), began, concurrency=2
        )
        for _ in range(3):
            await publisher.publish(FINAL)
        await lines(path, 2)
        assert publisher.running == 2
        await publisher.aclose()

    path = tmp_path / "out"
    run(main())
    assert path.read_text() == "begun\n" * 2


def test_a_program_need_not_read_its_input(
    tmp_path: Path, program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        publisher = CommandPublisher(program(append(path, "'done'")), began, concurrency=1)
        many = tuple(Word("word", i, i + 0.5, 0.9) for i in range(5000))  # more than a pipe holds
        for _ in range(2):
            await publisher.publish(Final("x", 0, many))
        await lines(path, 2)
        await publisher.aclose()

    path = tmp_path / "out"
    run(main())
    assert caplog.messages == []


def test_a_program_that_was_removed_is_told_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        publisher = CommandPublisher([str(path)], began)
        path.unlink()
        for _ in range(2):
            await publisher.publish(FINAL)
        await publisher.aclose()

    path = tmp_path / "program"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o700)
    run(main())
    assert caplog.messages == [f"{path}: no such file or directory"] * 2
