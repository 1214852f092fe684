"""A program for each final: the event's JSON line is its input."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from typing import Literal

from asr.errors import ConfigError
from service.events import Event, Final
from service.formats import printable

from .outbox import Outbox
from .stdout import json_line

log = logging.getLogger(__name__)

NOT_PASSED_ON = ("NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_")
"""Variables that speak of the daemon itself; a program could answer in its place."""
MAX_ERROR_LINE = 4096
GRACE_SECONDS = 1.0
"""What programs get at shutdown, so that the last utterance has an effect."""


class CommandPublisher:
    """Runs a program, never a shell; nothing waits for it."""

    def __init__(
        self,
        argv: Sequence[str],
        began: Callable[[str], float],
        *,
        only: Literal["all", "understood"] = "all",
        timeout: float = 10.0,
        concurrency: int = 4,
        waiting: int = 64,
    ) -> None:
        """ConfigError where there is no such program. `began` as for `JsonPublisher`.

        With `only` "understood", for commands of the grammar alone. At most `concurrency`
        programs run at once, each for `timeout` seconds; of the events behind them the oldest
        is dropped when more than `waiting` wait.
        """
        program = shutil.which(argv[0]) if argv else None
        if program is None:
            name = argv[0] if argv else ""
            raise ConfigError(f"no such program: {name!r}", "outputs.command.run")
        self._argv, self._program, self._name = list(argv), program, printable(argv[0])
        self._began, self._only = began, only
        self._timeout, self._concurrency = timeout, concurrency
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED_ON)
        }
        self._outbox: Outbox[bytes] = Outbox(waiting)
        self._workers: list[asyncio.Task[None]] = []
        self.running = 0
        """Programs that run now."""
        self.dropped = 0
        """Finals that no program was run for, because too many waited."""

    async def publish(self, event: Event) -> None:
        """Never waits for a program."""
        if not isinstance(event, Final) or (self._only == "understood" and not event.understood):
            return
        if not self._workers:
            self._workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        line = json_line(event, self._began(event.stream)).encode()
        if not self._outbox.put(line, droppable=False):
            self.dropped += 1
            log.warning("%s: too slow, %d finals dropped so far", self._name, self.dropped)

    async def aclose(self) -> None:
        """Let programs run for a second more, and kill those that still do."""
        self._outbox.close()
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=GRACE_SECONDS)
            for worker in late:
                worker.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        while (line := await self._outbox.get()) is not None:
            self.running += 1
            try:
                await self._run(line)
            except OSError as error:  # removed or forbidden since the start, no process left
                log.warning("%s: %s", self._name, (error.strerror or str(error)).lower())
            finally:
                self.running -= 1

    async def _run(self, line: bytes) -> None:
        debug = log.isEnabledFor(logging.DEBUG)
        process = await asyncio.create_subprocess_exec(
            *self._argv, executable=self._program, env=self._environment, start_new_session=True,
            # a pipe that nobody wants would make us wait for what runs on in the background
            stdin=PIPE, stdout=DEVNULL, stderr=PIPE if debug else DEVNULL,
        )  # fmt: skip
        assert process.stdin is not None
        try:
            async with asyncio.timeout(self._timeout):
                said, _, status = await asyncio.gather(
                    _last_line(process.stderr), _feed(process.stdin, line), process.wait()
                )
        except TimeoutError:
            await _kill(process)
            log.warning("%s: killed after %g s", self._name, self._timeout)
            return
        except asyncio.CancelledError:
            await _kill(process)
            raise
        if status:
            log.warning("%s: %s", self._name, _in_words(status))
        if said:
            log.debug("%s: %s", self._name, said)


async def _feed(stdin: asyncio.StreamWriter, line: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not read
        stdin.write(line)
        await stdin.drain()
    stdin.close()


async def _last_line(stderr: asyncio.StreamReader | None) -> str:
    tail = b""
    while stderr is not None and (chunk := await stderr.read(MAX_ERROR_LINE)):
        tail = (tail + chunk)[-MAX_ERROR_LINE:]
    lines = tail.decode(errors="replace").strip().splitlines()
    return printable(lines[-1]) if lines else ""


async def _kill(process: Process) -> None:
    """End a program and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):  # who left its group may hold a pipe for ever
        await asyncio.wait_for(process.wait(), 1.0)


def _in_words(status: int) -> str:
    return f"exit status {status}" if status > 0 else f"killed by signal {-status}"
