"""What the parts of the benchmark share: the acoustic model's output, and honest clocks."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from asr.bundle import Bundle
from asr.decoding.base import Decoder, Hypothesis
from asr.manifest import evenly, read_manifest
from asr.training.hearing import Heard, listen, search

Summary = dict[str, float | bool | None]
"""Figures by name, with `passed`."""

REPEATS = 3
BLOCK = 1600


def manifest(corpus: Path, name: str) -> Path:
    """The path of a corpus' list of recordings."""
    return corpus / "manifests" / f"{name}.jsonl"


def hear(bundle: Bundle, recordings: Path, count: int) -> list[Heard]:
    """What the network says to `count` recordings, evenly taken from the list."""
    everything = [r for r in read_manifest(recordings) if r.text]
    return list(listen(bundle, evenly(everything, count)))


def decode(decoder: Decoder, heard: Sequence[Heard]) -> list[Hypothesis]:
    """The final hypothesis of each recording."""
    return [search(decoder, one).hypothesis(final=True) for one in heard]


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
    return bundle.recognizer(bundle.decoder("greedy")).frame_seconds


def corpus() -> Path | None:
    """Where $CORPUS points."""
    named = os.environ.get("CORPUS")
    return Path(named) if named else None


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
