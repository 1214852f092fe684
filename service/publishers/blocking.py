"""Write to a file whose reader may never read, without holding up the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import threading
from queue import SimpleQueue
from typing import TextIO

_Job = tuple[str, asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class BlockingWriter:
    """Writes in a thread of its own, which may hang for ever and dies with the process.

    A descriptor that does not block would not do: its flag is shared with all who have the same
    terminal or pipe. Nor would `file.write`: who hangs in it holds a lock that the interpreter
    wants at its end.
    """

    def __init__(self, file: TextIO) -> None:
        """`file` is flushed, then its descriptor is written to, if it has one."""
        self._file = file
        self._encoding, self._errors = file.encoding or "utf-8", file.errors or "strict"
        self._descriptor: int | None = None
        with contextlib.suppress(io.UnsupportedOperation):
            self._descriptor = file.fileno()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def write(self, text: str) -> None:
        """Wait until it is written; raises what the file raises. One call at a time."""
        if self._thread is None:
            self._file.flush()
            self._thread = threading.Thread(target=self._work, name="stdout", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._jobs.put((text, loop, done))
        await done

    def close(self) -> None:
        """Nothing follows; the file stays open."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            text, loop, done = job
            error = None
            try:
                self._write(text)
            except Exception as caught:  # told to whoever waits
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_settle, done, error)

    def _write(self, text: str) -> None:
        if self._descriptor is None:
            self._file.write(text)
            self._file.flush()
            return
        left = memoryview(text.encode(self._encoding, self._errors))
        while left:
            left = left[os.write(self._descriptor, left) :]


def _settle(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():  # cancelled
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
