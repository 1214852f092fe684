"""Music that a seed composes, as a MIDI file played by fluidsynth."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from .sounds import RATE, Samples, read, repeated

TICKS, BEATS, BEATS_A_MINUTE = 480, 4, 112
"""Ticks a beat, beats a bar."""
SECTION = 8
"""Bars until other instruments play."""
SCALE = (0, 2, 4, 5, 7, 9, 11)
PROGRESSIONS = ((0, 4, 5, 3), (5, 3, 0, 4), (0, 3, 4, 0), (1, 4, 0, 5))
CHORDS = (0, 4, 24, 48, 52, 89)
"""General MIDI programs: pianos, guitar, strings, choir, pad."""
MELODIES = (0, 40, 53, 56, 65, 73, 80)
"""Piano, violin, voice, trumpet, saxophone, flute, synthesiser."""
BASS, DRUMS = 33, 9
KICK, SNARE, HAT = 36, 38, 42
FONTS = Path("/usr/share/sounds/sf2")


def unavailable() -> str | None:
    """Why no music can be played, if so."""
    if shutil.which("fluidsynth") is None:
        return "fluidsynth is not installed"
    if not any(FONTS.glob("*.sf2")):
        return f"no sound font in {FONTS} (Debian: timgm6mb-soundfont)"
    return None


def render(count: int, seed: int) -> Samples:
    """`count` samples of it at 16 kHz."""
    with tempfile.TemporaryDirectory() as name:
        song, audio = Path(name) / "song.mid", Path(name) / "song.wav"
        song.write_bytes(compose(count / RATE, seed))
        font = min(FONTS.glob("*.sf2"))
        subprocess.run(
            ["fluidsynth", "-ni", "-q", "-r", "44100", "-F", audio, font, song],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        return repeated(read(audio), count)


def compose(seconds: float, seed: int) -> bytes:
    """A MIDI file of chords, a melody, a bass and drums."""
    rng = np.random.default_rng(seed)
    bars = int(seconds / 60 * BEATS_A_MINUTE / BEATS) + 2
    events: list[tuple[int, bytes]] = []
    key, step, progression, drums = 0, 7, PROGRESSIONS[0], True
    for bar in range(bars):
        start = bar * BEATS * TICKS
        if bar % SECTION == 0:
            key = 55 + int(rng.integers(10))
            progression = PROGRESSIONS[int(rng.integers(len(PROGRESSIONS)))]
            drums = bool(rng.random() < 0.7)
            programs = (int(rng.choice(CHORDS)), int(rng.choice(MELODIES)), BASS)
            events += [(start, bytes((0xC0 | i, p))) for i, p in enumerate(programs)]
        root = progression[bar % len(progression)]
        for third in (0, 2, 4):
            events += note(0, pitch(key, root + third), start, BEATS * TICKS, 64)
        for beat in range(BEATS):
            events += note(2, pitch(key, root) - 24, start + beat * TICKS, TICKS, 80)
        for eighth in range(2 * BEATS):
            at = start + eighth * TICKS // 2
            step = int(np.clip(step + rng.integers(-2, 3), 3, 14))
            if rng.random() < 0.75:
                events += note(1, pitch(key, step), at, TICKS // 2, 96)
            if drums:
                events += note(DRUMS, HAT, at, TICKS // 4, 60)
                if eighth % 2 == 0:
                    hit = SNARE if eighth % 4 else KICK
                    events += note(DRUMS, hit, at, TICKS // 4, 100)
    return _file(events)


def pitch(key: int, degree: int) -> int:
    """The MIDI note of a degree of the major scale."""
    octave, place = divmod(degree, len(SCALE))
    return key + 12 * octave + SCALE[place]


def note(
    channel: int, key: int, start: int, ticks: int, velocity: int
) -> list[tuple[int, bytes]]:
    """On, and off a little before its time is over."""
    on, off = bytes((0x90 | channel, key, velocity)), bytes((0x80 | channel, key, 0))
    return [(start, on), (start + ticks - 1, off)]


def _file(events: list[tuple[int, bytes]]) -> bytes:
    tempo = round(60e6 / BEATS_A_MINUTE).to_bytes(3, "big")
    track, now = b"\x00\xff\x51\x03" + tempo, 0
    for time, event in sorted(events, key=lambda pair: pair[0]):
        track += _variable(time - now) + event
        now = time
    track += b"\x00\xff\x2f\x00"
    header = b"MThd" + (6).to_bytes(4, "big") + b"\x00\x00\x00\x01" + TICKS.to_bytes(2, "big")
    return header + b"MTrk" + len(track).to_bytes(4, "big") + track


def _variable(number: int) -> bytes:
    """Seven bits a byte, the high bit set in all but the last."""
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes(reversed(digits))
