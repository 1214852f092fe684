"""Microphones through PortAudio (the library sounddevice): found by name, waited for, reopened.

PortAudio freezes its list of devices when it starts. It is started anew to see what was
plugged in since, which only works while no stream is open: `PortAudio` keeps count.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from asr.errors import ConfigError
from asr.resample import MAX_RATE, MIN_RATE

from .base import Samples

log = logging.getLogger(__name__)

PREFERRED_RATE = 16_000
BLOCK_SECONDS = 0.05
QUEUE_SECONDS = 5.0
"""Audio that waits for a busy recogniser before the oldest is dropped."""
UNPLUGGED_SECONDS = 2.0
"""Without a block for that long a device is gone: a killed sound server says nothing."""
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 10.0)


class NoInput(Exception):
    """There is no such device now, or it cannot be opened."""


@dataclass(frozen=True)
class InputDevice:
    """What can be recorded from."""

    name: str
    index: int
    """Changes with what is plugged in: good for opening it now, never for keeping."""
    channels: int
    sample_rate: int
    """What the device itself runs at."""
    default: bool


class PortAudio:
    """PortAudio and the number of its open streams. Shared by all microphones; thread-safe."""

    def __init__(self, library: Any = None) -> None:
        """`library` replaces the module sounddevice; ConfigError where that is missing."""
        self._lock = threading.Lock()
        self._open = 0
        self._sd = library if library is not None else _sounddevice()

    def inputs(self) -> list[InputDevice]:
        """What can be recorded from, as far as PortAudio knows; NoInput where it fails."""
        try:
            devices = self._sd.query_devices()
            default = self._sd.default.device[0]
        except self._sd.PortAudioError as error:
            raise NoInput(str(error)) from error
        return [
            InputDevice(
                name=device["name"],
                index=index,
                channels=device["max_input_channels"],
                sample_rate=int(device["default_samplerate"]),
                default=index == default,
            )
            for index, device in enumerate(devices)
            if device["max_input_channels"] > 0
        ]

    def refresh(self) -> None:
        """Read the list of devices anew, unless a stream is open: that would be stopped."""
        with self._lock:
            if self._open:
                return
            try:
                self._sd._terminate()
                self._sd._initialize()
            except self._sd.PortAudioError as error:
                raise NoInput(str(error)) from error

    def open(self, device: InputDevice, rate: int, channels: int, callback: Any, ended: Any) -> Any:
        """A running stream; NoInput where the device refuses."""
        with self._lock:
            try:
                stream = self._sd.InputStream(
                    device=device.index, samplerate=rate, channels=channels, dtype="float32",
                    blocksize=round(BLOCK_SECONDS * rate), callback=callback,
                    finished_callback=ended,
                )  # fmt: skip
                stream.start()
            except self._sd.PortAudioError as error:
                raise NoInput(f"{device.name}: {error}") from error
            self._open += 1
            return stream

    def close(self, stream: Any) -> None:
        """Stop a stream."""
        with self._lock:
            stream.close()
            self._open -= 1


def choose(devices: list[InputDevice], pattern: str | None) -> InputDevice:
    """The first device whose name holds `pattern` or matches it with * and ?; None: the default.

    NoInput where there is none.
    """
    if pattern is None:
        found = [d for d in devices if d.default] or devices
    else:
        wanted = pattern.casefold().replace("[", "[[]")  # brackets are common in names
        glob = wanted if set(wanted) & set("*?") else f"*{wanted}*"
        found = [d for d in devices if fnmatchcase(d.name.casefold(), glob)]
    if not found:
        raise NoInput("no microphone" if pattern is None else f"no microphone like {pattern!r}")
    return found[0]


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
                    device, rate, channels, self._callback, self._finished
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


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise ConfigError("sounddevice is missing: pip install 'asrd[mic]'") from error
    except OSError as error:
        raise ConfigError("PortAudio is missing: apt install libportaudio2") from error
    return sounddevice
