"""Raw 16-bit little-endian PCM from standard input, a FIFO or a file."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from asr.audio import PcmConverter

from .base import BLOCK_SECONDS, Samples


@dataclass(frozen=True)
class PcmInlet:
    """One source of raw PCM; the path "-" is standard input."""

    path: Path
    sample_rate: int = 16_000
    channels: int = 1

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def returns(self) -> bool:
        return False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[PcmSource]:
        """The source; OSError where it cannot be read."""
        source = PcmSource(self.name, self.sample_rate, self.channels)
        source.start()
        try:
            yield source
        finally:
            source.close()


class PcmSource:
    """Reads in a thread, because opening or reading a FIFO may wait for ever.

    It reads one block ahead: a fast writer waits for the recogniser.
    """

    def __init__(self, name: str, sample_rate: int, channels: int) -> None:
        self.name, self.sample_rate, self._channels = name, sample_rate, channels
        self._loop = asyncio.get_running_loop()
        self._blocks: asyncio.Queue[Samples | OSError | None] = asyncio.Queue(1)
        self._closed = False

    def start(self) -> None:
        """Begin to read."""
        # a daemon: a read that waits must not keep the process from ending
        threading.Thread(target=self._read, name=f"read {self.name}", daemon=True).start()

    def close(self) -> None:
        """Read no further."""
        self._closed = True
        while not self._blocks.empty():  # the thread may wait for room
            self._blocks.get_nowait()

    async def __aiter__(self) -> AsyncIterator[Samples]:
        while True:
            block = await self._blocks.get()
            if block is None:
                return
            if isinstance(block, OSError):
                raise block
            yield block

    def _read(self) -> None:
        size = max(1, round(BLOCK_SECONDS * self.sample_rate)) * 2 * self._channels
        converter = PcmConverter(self._channels)
        try:
            # unbuffered: the lock of sys.stdin's buffer would be held when the process ends
            name = 0 if self.name == "-" else self.name
            with open(name, "rb", buffering=0, closefd=name != 0) as file:
                while not self._closed and (data := os.read(file.fileno(), size)):
                    samples = converter.push(data)
                    if len(samples):
                        self._hand_over(samples.mean(axis=1))
            self._hand_over(None)
        except OSError as error:
            self._hand_over(error)

    def _hand_over(self, block: Samples | OSError | None) -> None:
        if self._closed:
            return
        put = self._blocks.put(block)
        try:
            asyncio.run_coroutine_threadsafe(put, self._loop).result()
        except (CancelledError, RuntimeError):  # the event loop has ended
            put.close()
            self._closed = True
