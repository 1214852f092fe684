"""Which recordings a run learns from: filters, limits and repeats, before any is decoded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.errors import ManifestError
from asr.manifest import Recording, read_lines, resolve_audio
from asr.vocabulary import Vocabulary

from .config import DataConfig, expand
from .corpora import keep_within, read_corpus


@dataclass(frozen=True)
class Selected:
    """A recording that a run takes."""

    recording: Recording
    source: int
    """Position of its source in the run's list."""
    repeat: int
    """How often a pass takes it."""


def select(
    sources: Sequence[str], data: DataConfig, *, limit_hours: float | None = None,
    limit: int | None = None, seed: int = 0,
) -> list[Selected]:
    """Read and filter the recordings of `sources`, in their order.

    `limit_hours` and `limit` (recordings) keep a random part, the same for a seed. Raises
    ManifestError where nothing is left.
    """
    chosen: list[Selected] = []
    for number, source in enumerate(sources):
        found = keep_within(read_corpus(expand(source)), data.minimum)
        times = [n for part, n in data.repeat.items() if part in source]
        chosen += [
            Selected(r, number, times[0] if times else 1)
            for r in found
            if r.seconds is None or r.seconds <= data.max_seconds
        ]
    if limit is not None or limit_hours is not None:
        order = np.random.default_rng(seed).permutation(len(chosen))[:limit]
        seconds = np.cumsum([chosen[int(i)].recording.seconds or 5.0 for i in order])
        count = int((seconds <= (limit_hours or np.inf) * 3600).sum())
        # sorted: a copy of just these recordings (`asrd pack`) then has the same order
        chosen = [chosen[i] for i in sorted(map(int, order[: max(count, 1)]))]
    if not chosen:
        raise ManifestError(f"no recordings in {', '.join(sources) or 'an empty list'}")
    return chosen


def encode_texts(recordings: Sequence[Recording], vocabulary: Vocabulary) -> list[list[int]]:
    """Token ids of each text; ManifestError for one that is missing or cannot be written."""
    tokens = []
    for recording in recordings:
        if recording.text is None:
            raise ManifestError(f"{recording.audio}: no text to learn from")
        try:
            tokens.append(vocabulary.encode(recording.text))
        except ValueError as error:
            raise ManifestError(f"{recording.audio}: {error}") from error
    return tokens


def noise_files(data: DataConfig) -> Iterator[tuple[Path, str]]:
    """Recordings of noise and their kinds, those that are excluded left out."""
    excluded = re.compile(data.noise_exclude) if data.noise_exclude else None
    for source in data.noise:
        path = expand(source)
        for _, row in read_lines(path):
            kind = str(row.get("kind", ""))
            if excluded is None or not excluded.search(kind):
                yield resolve_audio(path, row["audio"]), kind
