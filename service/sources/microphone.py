"""Microphones through PortAudio: found by name, waited for, opened again."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from asr.resample import MAX_RATE, MIN_RATE

from .base import Samples
from .port_audio import NoInput, PortAudio, choose

log = logging.getLogger(__name__)

PREFERRED_RATE = 16_000
BLOCK_SECONDS = 0.05
QUEUE_SECONDS = 5.0
"""Audio that waits for a busy recogniser before the oldest is dropped."""
UNPLUGGED_SECONDS = 2.0
"""Without a block for that long a device is gone: a killed sound server says nothing."""
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 10.0)


class Microphone:
    """An inlet that waits for its device and finds it again after it has been away."""

    def __init__(
        self,
        device: str | None = None,
        name: str = "microphone",
        *,
        port_audio: PortAudio | None = None,
        unplugged_seconds: float = UNPLUGGED_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`device` is part of the device's name, or a pattern with * and ?; None: the default."""
        self._device, self._name = device, name
        self._port_audio = port_audio or PortAudio()
        self._unplugged_seconds, self._sleep = unplugged_seconds, sleep
        self._opened_before = False
        self.on_waiting: Callable[[str], None] = lambda reason: None

    @property
    def name(self) -> str:
        return self._name

    @property
    def returns(self) -> bool:
        return True

    @asynccontextmanager
    async def open(self) -> AsyncIterator[MicrophoneSource]:
        """The microphone, as soon as it can be opened."""
        source = await self._wait()
        try:
            yield source
        finally:
            await asyncio.to_thread(source.close)
            if source.overflows:
                log.warning("%s: dropped audio %d times", self._name, source.overflows)

    async def _wait(self) -> MicrophoneSource:
        attempt = 0
        while True:
            source = MicrophoneSource(self._name, self._port_audio, self._unplugged_seconds)
            opening = asyncio.ensure_future(
                asyncio.to_thread(source.start, self._device, self._opened_before or attempt > 0)
            )
            try:
                await asyncio.shield(opening)
                await source.first_block()
            except NoInput as error:
                if source.is_open:
                    await asyncio.to_thread(source.close)
                if attempt == 0:
                    log.warning("%s: %s; waiting for it", self._name, error)
                    self.on_waiting(str(error))
            except asyncio.CancelledError:
                await asyncio.wait([opening])
                if source.is_open:
                    source.close()
                raise
            else:
                self._opened_before = True
                log.info("%s: listening to %s at %d Hz", self._name, source.device,
                         source.sample_rate)  # fmt: skip
                return source
            await self._sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
            attempt += 1


class MicrophoneSource:
    """A device while it is open. PortAudio's thread appends blocks, the event loop takes them."""

    def __init__(self, name: str, port_audio: PortAudio, unplugged_seconds: float) -> None:
        self.name, self.sample_rate, self.device = name, PREFERRED_RATE, ""
        self.overflows = 0
        """Times that audio was lost, here or in the driver."""
        self.dropped_seconds = 0.0
        """What was lost; the driver does not tell how much, a block is assumed."""
        self._port_audio, self._unplugged_seconds = port_audio, unplugged_seconds
        self._blocks: deque[Samples] = deque(maxlen=round(QUEUE_SECONDS / BLOCK_SECONDS))
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._waking = self._ended = False
        self._stream: Any = None

    def start(self, pattern: str | None, refresh: bool) -> None:
        """Open the device at the first rate and number of channels that it takes, or NoInput."""
        if refresh:
            self._port_audio.refresh()
        device = choose(self._port_audio.inputs(), pattern)
        self.device = device.name
        native = min(max(device.sample_rate, MIN_RATE), MAX_RATE)
        formats = [
            (rate, channels)
            for channels in dict.fromkeys((1, min(device.channels, 2)))
            for rate in dict.fromkeys((PREFERRED_RATE, native))
        ]
        for rate, channels in formats:
            try:
                self._stream = self._port_audio.open(
                    device, rate, channels, BLOCK_SECONDS, self._callback, self._finished
                )
            except NoInput:
                if (rate, channels) == formats[-1]:
                    raise
            else:
                self.sample_rate = rate
                return

    @property
    def is_open(self) -> bool:
        """Whether there is a stream to close."""
        return self._stream is not None

    async def first_block(self) -> None:
        """Wait until audio comes, or NoInput: what a sound server opens may still be dead."""
        if not await self._more():
            raise NoInput(f"{self.device} was opened, but gives no audio")

    def close(self) -> None:
        """Stop recording."""
        self._port_audio.close(self._stream)
        self._stream = None

    async def __aiter__(self) -> AsyncIterator[Samples]:
        while True:
            while self._blocks:
                yield self._blocks.popleft().mean(axis=1)
            if await self._more():
                continue
            reason = "has gone" if self._ended else "gives no audio any more"
            log.warning("%s: %s %s", self.name, self.device, reason)
            return

    async def _more(self) -> bool:
        """Whether another block comes in time."""
        while not self._blocks and not self._ended:
            self._waking = False
            self._woken.clear()
            if self._blocks or self._ended:  # since
                break
            try:
                await asyncio.wait_for(self._woken.wait(), self._unplugged_seconds)
            except TimeoutError:
                break
        return bool(self._blocks)

    def _callback(self, samples: Samples, frames: int, time: object, status: Any) -> None:
        # in PortAudio's thread: its buffer is used again, and waiting here would lose audio
        if status.input_overflow or len(self._blocks) == self._blocks.maxlen:
            self.overflows += 1
            self.dropped_seconds += frames / self.sample_rate
        self._blocks.append(samples.copy())
        self._wake()

    def _finished(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waking:  # a stalled event loop must not pile up calls
            return
        self._waking = True
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:  # the loop has ended
            return
