"""Audio that the benchmark makes: recordings drawn by a seed, levels, noise, arrays as sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from asr.audio import AudioReader
from asr.manifest import read_lines, read_manifest, resolve_audio
from asr.streaming import Recognizer
from service.offline import SourceResult, transcribe_sources

from .measuring import BLOCK, manifest

Samples = NDArray[np.float32]

RATE = 16_000
STREAMS = 16
"""Recordings in a batch."""
CHUNK_SECONDS = 0.64
"""What `asrd transcribe` takes too: the text is the same, the cost half."""
ROOM_TONE = -65.0
"""dBFS of the noise that a quiet microphone has."""
TEST_NOISE = "kitchen"


@dataclass(frozen=True)
class Utterance:
    """A recording with its text."""

    text: str
    samples: Samples


@dataclass(frozen=True)
class ArraySource:
    """Samples as something that `transcribe_sources` opens."""

    name: str
    samples: Samples

    @contextmanager
    def open(self) -> Iterator[AudioReader]:
        blocks = (self.samples[at : at + BLOCK, None] for at in range(0, len(self.samples), BLOCK))
        yield AudioReader(RATE, 1, len(self.samples) / RATE, blocks)


def shuffled(corpus: Path, name: str, seed: int) -> Iterator[Utterance]:
    """The recordings of a list in an order that the seed gives, read one by one."""
    recordings = [r for r in read_manifest(manifest(corpus, name)) if r.text]
    for i in np.random.default_rng(seed).permutation(len(recordings)):
        yield Utterance(recordings[i].text or "", read(recordings[i].audio))


def draw(corpus: Path, name: str, count: int, seed: int) -> list[Utterance]:
    """The first `count` of those, or all if there are fewer."""
    return list(islice(shuffled(corpus, name, seed), count))


def read(path: Path) -> Samples:
    """A recording as mono at 16 kHz."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return at_rate(samples.mean(axis=1), rate, RATE)


def at_rate(samples: Samples, old: int, new: int) -> Samples:
    """Resampled, if need be."""
    resampled = samples if old == new else soxr.resample(samples, old, new)
    return np.ascontiguousarray(resampled, np.float32)


def unheard_noise(corpus: Path) -> Samples:
    """The noise that no training has heard."""
    listed = corpus / "noise.jsonl"
    kept = [
        read(resolve_audio(listed, row["audio"]))
        for _, row in read_lines(listed)
        if str(row.get("kind", "")).startswith(TEST_NOISE)
    ]
    if not kept:
        raise SystemExit(f"{listed}: no noise of the kind {TEST_NOISE!r}")
    return np.concatenate(kept)


def white(count: int, dbfs: float, rng: np.random.Generator) -> Samples:
    """White noise whose effective value is `dbfs` below full scale."""
    return (rng.standard_normal(count) * 10 ** (dbfs / 20)).astype(np.float32)


def at_level(samples: Samples, dbfs: float) -> Samples:
    """Scaled to an effective value, and clipped at full scale."""
    effective = float(np.sqrt(np.square(samples, dtype=np.float64).mean())) or 1.0
    scaled: Samples = np.clip(samples * np.float32(10 ** (dbfs / 20) / effective), -1, 1)
    return scaled


def repeated(samples: Samples, count: int) -> Samples:
    """Over and over until there are `count`."""
    return np.tile(samples, -(-count // len(samples)))[:count]


def transcribe(recognizer: Recognizer, clips: Sequence[Samples]) -> list[SourceResult]:
    """What the path of files makes of each."""
    sources = [ArraySource(str(i), clip) for i, clip in enumerate(clips)]
    return list(transcribe_sources(recognizer, sources, streams=STREAMS))
