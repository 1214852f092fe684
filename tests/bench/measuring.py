"""What the parts of the benchmark share: the acoustic model's output, and honest clocks."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.bundle import Bundle
from asr.decoding.base import Decoder, Hypothesis
from asr.decoding.confidence import ConfidenceConfig
from asr.manifest import Recording, read_manifest
from asr.streaming import Recognizer

Summary = dict[str, float | bool | None]
"""Figures by name, with `passed`."""

REPEATS = 3
BLOCK = 1600


@dataclass(frozen=True)
class Heard:
    """One recording as the acoustic model heard it, chunk by chunk."""

    text: str
    chunks: tuple[Tensor, ...]

    @property
    def frames(self) -> int:
        return sum(len(chunk) for chunk in self.chunks)


class _Recorder:
    """A decoder that keeps what it is given."""

    last_token = 0
    confidence: ConfidenceConfig | None = None
    pieces = False

    def __init__(self) -> None:
        self.chunks: list[Tensor] = []

    def new_stream(self, last_token: int | None = None) -> _Recorder:
        return self

    def advance(self, log_probs: Tensor) -> None:
        self.chunks.append(log_probs.clone())

    def hypothesis(self, final: bool = False) -> Hypothesis:
        return Hypothesis()

    def n_best(self, count: int, final: bool = False) -> list[Hypothesis]:
        return [Hypothesis()]


def manifest(corpus: Path, name: str) -> Path:
    """The path of a corpus' list of recordings."""
    return corpus / "manifests" / f"{name}.jsonl"


def hear(bundle: Bundle, recordings: Path, count: int) -> list[Heard]:
    """Log-probs of `count` recordings, evenly taken from the list, streamed like live audio."""
    everything = [r for r in read_manifest(recordings) if r.text]
    return listen(bundle, everything[:: max(1, len(everything) // count)][:count])


def listen(bundle: Bundle, recordings: Sequence[Recording]) -> list[Heard]:
    """Log-probs of recordings, streamed like live audio."""
    heard = []
    for recording in recordings:
        recorder = _Recorder()
        recognizer = Recognizer(bundle.extractor, bundle.model, bundle.vocabulary, recorder)
        samples, rate = soundfile.read(recording.audio, dtype="float32")
        session = recognizer.new_session(rate)
        for at in range(0, len(samples), BLOCK):
            session.accept(np.ascontiguousarray(samples[at : at + BLOCK]))
            while session.ready:
                recognizer.step([session])
        session.finish()
        while session.ready:
            recognizer.step([session])
        heard.append(Heard(recording.text or "", tuple(recorder.chunks)))
    return heard


def decode(decoder: Decoder, heard: Sequence[Heard]) -> list[Hypothesis]:
    """The final hypothesis of each recording."""
    found = []
    for one in heard:
        stream = decoder.new_stream()
        for chunk in one.chunks:
            stream.advance(chunk)
        found.append(stream.hypothesis(final=True))
    return found


def cpu_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median CPU time of the work, whatever else the machine does."""
    costs = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        costs.append(time.process_time() - began)
    return statistics.median(costs)


def seconds_of(heard: Sequence[Heard], frame_seconds: float) -> float:
    """Audio in all of them."""
    return sum(one.frames for one in heard) * frame_seconds


def frame_seconds_of(bundle: Bundle) -> float:
    """Audio a row of log-probs."""
    return Recognizer(
        bundle.extractor, bundle.model, bundle.vocabulary, _Recorder()
    ).frame_seconds


def corpus() -> Path | None:
    """Where $CORPUS points."""
    named = os.environ.get("CORPUS")
    return Path(named) if named else None


def as_matrix(one: Heard) -> NDArray[np.float32]:
    """(frames, vocab)."""
    return torch.cat(one.chunks).float().numpy()


class MemoryGrowth:
    """Peak resident memory since this object was made, beyond what was resident then (Linux)."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        self._before = self._peak()

    @staticmethod
    def _peak() -> float:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("/proc/self/status has no VmHWM")

    def megabytes(self) -> float:
        return self._peak() - self._before
