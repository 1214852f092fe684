"""A real microphone path: PulseAudio, ALSA, PortAudio, sounddevice, and `asrd`.

A recording is played into a null sink, whose monitor is the microphone.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.service.test_process import DRIVER

Say = Callable[..., Path]

CONFTEST = Path(__file__).with_name("conftest.py")
SINK = "module-null-sink sink_name=room rate=48000"
WAIT = 60

MISSING = [
    name for name in ("pulseaudio", "pactl", "paplay") if shutil.which(name) is None
] + [name for name in ("sounddevice",) if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(
    bool(MISSING) and os.environ.get("CI") != "true", reason=f"missing: {', '.join(MISSING)}"
)


class Lines:
    """The lines of a pipe, with a limit to the waiting."""

    def __init__(self, pipe: IO[str]) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        self.seen: list[str] = []
        threading.Thread(target=self._read, args=[pipe], daemon=True).start()

    def until(self, *parts: str) -> str:
        """The next line that holds one of the parts."""
        while True:
            try:
                line = self._lines.get(timeout=WAIT)
            except queue.Empty:
                raise AssertionError(f"no line with {parts} after {self.seen}") from None
            self.seen.append(line)
            if any(part in line for part in parts):
                return line

    def rest(self) -> list[str]:
        """The lines that nobody waited for."""
        return [self._lines.get() for _ in range(self._lines.qsize())]

    def _read(self, pipe: IO[str]) -> None:
        for line in pipe:
            self._lines.put(line.rstrip("\n"))


class Room:
    """A sound server of one's own."""

    def __init__(self, path: Path) -> None:
        self.path, self.socket = path, path / "pulse.socket"
        alsa = path / "asound.conf"
        alsa.write_text(
            "</usr/share/alsa/alsa.conf>\n"
            "pcm.room { type pulse hint { show on description 'room' } }\n"
            "pcm.!default { type pulse }\nctl.!default { type pulse }\n"
        )
        self.environment = os.environ | {
            "HOME": str(path),
            "XDG_RUNTIME_DIR": str(path),
            "PULSE_RUNTIME_PATH": str(path),
            "PULSE_SERVER": f"unix:{self.socket}",
            "ALSA_CONFIG_PATH": str(alsa),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OMP_NUM_THREADS": "1",
            "ASRD_MODEL": "tones",
        }
        self.server: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns when the server answers."""
        self.server = subprocess.Popen(
            [
                *("pulseaudio", "--daemonize=no", "-n", "--exit-idle-time=-1", "-v"),
                f"--load=module-native-protocol-unix socket={self.socket} auth-anonymous=1",
                f"--load={SINK}",
            ],
            env=self.environment, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.server.stderr is not None
        Lines(self.server.stderr).until("Daemon startup complete")

    def stop(self) -> None:
        """As if it had crashed."""
        assert self.server is not None
        self.server.kill()
        self.server.wait()
        if self.server.stderr is not None:
            self.server.stderr.close()

    def call(self, *command: object) -> str:
        done = subprocess.run(
            list(map(str, command)), env=self.environment, capture_output=True, text=True,
            timeout=WAIT, check=True,
        )  # fmt: skip
        return done.stdout

    def play(self, recording: Path) -> None:
        """Into the sink, once somebody records there."""
        end = time.monotonic() + WAIT
        while not self.call("pactl", "list", "short", "source-outputs"):
            assert time.monotonic() < end, "nobody records"
            time.sleep(0.1)
        self.call("paplay", "--device=room", recording)

    def asrd(self, *arguments: object) -> list[str]:
        return [sys.executable, "-c", DRIVER, str(CONFTEST), *map(str, arguments)]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    assert not MISSING
    room = Room(tmp_path)
    room.start()
    yield room
    room.stop()


CONFIG = """\
[[microphones]]
device = "room"
[gate]
enabled = false
[outputs]
stdout = "text"
"""


@pytest.mark.parametrize("command", ["listen", "run"])
def test_what_is_played_is_heard_also_after_the_microphone_was_away(
    room: Room, say: Say, command: str
) -> None:
    first, second = say("1.wav", "ab c", rate=48_000), say("2.wav", "dc ba", rate=48_000)
    third = say("3.wav", "cab", rate=48_000)
    expected = room.call(*room.asrd("transcribe", first, second, third)).splitlines()
    assert [line.rsplit(": ")[-1] for line in expected] == ["ab c", "dc ba", "cab"]
    config = room.path / "asrd.toml"
    config.write_text(CONFIG)
    options = {"listen": ("--device", "room", "--no-gate"), "run": ("--config", config)}
    listening: Any = subprocess.Popen(
        room.asrd(command, *options[command]), env=room.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with listening:
        out, log = Lines(listening.stdout), Lines(listening.stderr)
        try:
            log.until("listening to room")
            room.play(first)
            assert out.until("") == "ab c"

            room.call("pactl", "unload-module", "module-null-sink")
            log.until("has gone", "no audio")
            room.call("pactl", "load-module", *SINK.split())
            log.until("listening to room")
            room.play(second)
            assert out.until("") == "dc ba"

            room.stop()
            log.until("has gone", "no audio")
            room.start()
            log.until("listening to room")
            room.play(third)
            assert out.until("") == "cab"

            listening.send_signal(signal.SIGTERM)
            assert listening.wait(WAIT) == 0
        finally:
            listening.kill()
            logging.warning("\n".join(log.seen + log.rest()))  # shown where the test fails
