"""Live streams without a clock: audio in small packets, and when each final was told."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.bundle import Bundle
from asr.decoding.base import Decoder
from asr.decoding.commands import CommandDecoder
from asr.decoding.grammar import Grammar
from asr.streaming import Recognizer
from service.events import Final
from service.gate import Gate, GateRules, silero_detector
from service.transcriber import StreamTranscriber
from service.wake import Wake

Samples = NDArray[np.float32]

RATE = 16_000
PACKET = 320
FRAME = 160
QUIET = 0.01
"""Of the loudest frame's power (-20 dB): what counts as speech of a recording."""


@dataclass(frozen=True)
class Told:
    """A final, and how much audio had been heard when it was told."""

    final: Final
    at: float
    cpu_seconds: float
    """From the last step's end to the final."""


@dataclass(frozen=True)
class Ear:
    """What is listened with."""

    recognizer: Recognizer
    wake: Wake | None = None
    gated: bool = True

    def transcriber(self) -> StreamTranscriber:
        """A new stream, in the mode `normal`."""
        from service.config import ENDPOINT_MODES

        return StreamTranscriber(
            "bench", self.recognizer, RATE, endpoint=ENDPOINT_MODES["normal"], partials=False,
            gate=Gate(silero_detector, GateRules()) if self.gated else None, wake=self.wake,
        )

    def hear(self, samples: Samples) -> list[Told]:
        """All finals of a recording."""
        transcriber = self.transcriber()
        told: list[Told] = []
        for at in range(0, len(samples), PACKET):
            transcriber.accept(samples[at : at + PACKET])
            heard = min(len(samples), at + PACKET) / RATE
            told += self._drain(transcriber, heard)
        transcriber.finish()
        told += self._drain(transcriber, len(samples) / RATE)
        last = [e for e in transcriber.last_events() if isinstance(e, Final)]
        return told + [Told(final, math.inf, 0.0) for final in last]

    def _drain(self, transcriber: StreamTranscriber, heard: float) -> Iterator[Told]:
        while transcriber.session.ready:
            self.recognizer.step([transcriber.session])
            began = time.process_time()
            events = transcriber.events()
            took = time.process_time() - began
            yield from (Told(e, heard, took) for e in events if isinstance(e, Final))


def recognizer_of(bundle: Bundle, decoder: Decoder, grammar: Grammar | None = None) -> Recognizer:
    """As `asrd listen` makes it."""
    if grammar is not None:
        config = bundle.manifest.search.commands
        decoder = CommandDecoder(grammar, bundle.vocabulary, decoder, config)
    return bundle.recognizer(decoder)


def read(path: Path) -> Samples:
    """A recording at 16 kHz."""
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE, f"{path}: expected {RATE} Hz"
    return np.asarray(samples, np.float32)


def spoken_part(samples: Samples) -> Samples:
    """A recording without the silence at its ends."""
    power = frame_power(samples)
    loud = np.flatnonzero(power >= QUIET * power.max())
    return samples[loud[0] * FRAME : (loud[-1] + 1) * FRAME]


def frame_power(samples: Samples) -> NDArray[np.float32]:
    """Of each 10 ms."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    return np.asarray((frames**2).mean(axis=1))


def with_noise(speech: Samples, noise: Samples, snr: float, before: float, after: float) -> Samples:
    """Speech amid noise that is `snr` dB below it and goes on for so many seconds around."""
    lead = round(before * RATE)
    whole = np.resize(noise, lead + len(speech) + round(after * RATE)).astype(np.float32)
    scale = math.sqrt(float((speech**2).mean()) / max(1e-12, float((whole**2).mean())))
    mixed = whole * scale * 10 ** (-snr / 20)
    mixed[lead : lead + len(speech)] += speech
    return np.asarray(mixed / max(1.0, float(np.abs(mixed).max())), np.float32)


def noises(corpus: Path, wanted: Callable[[str], bool]) -> list[Samples]:
    """Recordings of noise whose kind is wanted; never the kitchen, which is for tests alone."""
    lines = (corpus / "noise.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [
        read(corpus / row["audio"])
        for row in rows
        if wanted(row["kind"]) and not row["kind"].startswith("kitchen")
    ]


def music(seconds: float) -> Samples:
    """Chords with a beat: what a television plays when nobody speaks."""
    at = np.arange(round(seconds * RATE)) / RATE
    chords = np.array([[220, 277, 330], [196, 247, 294], [175, 220, 262], [165, 208, 247]])
    now = chords[(at / 0.6).astype(int) % len(chords)]
    tones = sum(
        np.sin(2 * np.pi * k * now[:, i] * at) / k for i in range(3) for k in (1, 2, 3, 4)
    )
    return np.asarray(0.1 * tones * np.exp(-3 * (at % 0.3)), np.float32)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile; infinite where there are none."""
    if not values:
        return math.inf, math.inf
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
