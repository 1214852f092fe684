"""PortAudio (the library sounddevice) as microphones use it: devices by name, streams counted.

PortAudio freezes its list of devices when it starts. It is started anew to see what was
plugged in since, which only works while no stream is open: `PortAudio` keeps count, and where the
sound cards have changed it ends what is open, to be opened anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from asr.errors import ConfigError

log = logging.getLogger(__name__)

CARDS = Path("/proc/asound/cards")


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


def sound_cards() -> str:
    """ALSA's list; empty where there is none."""
    try:
        return CARDS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class PortAudio:
    """PortAudio and the number of its open streams. Shared by all microphones; thread-safe."""

    def __init__(self, library: Any = None, cards: Callable[[], str] = sound_cards) -> None:
        """`library` replaces the module sounddevice; ConfigError where that is missing.

        `cards` tells what sound cards there are, in any words.
        """
        self._lock = threading.Lock()
        self._open: dict[int, Callable[[], None]] = {}  # what ends each stream, by its id
        self._sd = library if library is not None else _sounddevice()
        self._cards, self._known_cards = cards, cards()

    def inputs(self) -> list[InputDevice]:
        """What can be recorded from, as far as PortAudio knows; NoInput where it fails."""
        with self._lock:
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
        """Read the list of devices anew.

        While a stream is open that cannot be done. If the sound cards have changed, all streams are
        ended, so that who opens them again, or waits for another, can do it.
        """
        with self._lock:
            cards = self._cards()
            if self._open:
                if cards != self._known_cards:
                    log.info("the sound cards have changed: microphones are opened anew")
                    for end in self._open.values():
                        end()
                return
            self._known_cards = cards
            try:
                self._sd._terminate()
                self._sd._initialize()
            except self._sd.PortAudioError as error:
                raise NoInput(str(error)) from error

    def open(
        self, device: InputDevice, rate: int, channels: int, seconds: float, callback: Any,
        ended: Any,
    ) -> Any:
        """A running stream in blocks of so many seconds; NoInput where the device refuses."""
        with self._lock:
            try:
                stream = self._sd.InputStream(
                    device=device.index, samplerate=rate, channels=channels, dtype="float32",
                    blocksize=round(seconds * rate), callback=callback,
                    finished_callback=ended,
                )  # fmt: skip
                try:
                    stream.start()
                except self._sd.PortAudioError:
                    stream.close()  # it would keep the device
                    raise
            except self._sd.PortAudioError as error:
                raise NoInput(f"{device.name}: {error}") from error
            self._open[id(stream)] = ended
            return stream

    def close(self, stream: Any) -> None:
        """Stop a stream."""
        with self._lock:
            stream.close()
            del self._open[id(stream)]


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


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise ConfigError("sounddevice is missing: pip install 'asrd[mic]'") from error
    except OSError as error:
        raise ConfigError("PortAudio is missing: apt install libportaudio2") from error
    return sounddevice
