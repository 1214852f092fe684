"""`python -m asr.training.teach CONFIG.toml WHISPER FOLDER`: a teacher's states for a run.

WHISPER is a folder of Whisper in CTranslate2's format (faster-whisper: `model.bin`); the extra
`teacher` brings the library. The states are those of the last layer of the encoder, averaged to
one every 40 ms; each dimension is standardised, and the strongest principal components are
kept, scaled together to a variance of 1 a number on average.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asr.vocabulary import Vocabulary

from .batches import bucketed_batches
from .config import expand, read_config
from .dataset import load_dataset
from .store import AudioStore
from .teacher import FRAME_SECONDS, write_states

RATE = 16_000
MARGIN_SECONDS = 1.0
"""Silence behind the longest recording of a batch."""
BATCH_SECONDS = 100.0
SAMPLE_FRAMES = 120_000
"""Frames that mean, deviation and components are taken from."""
OUTLIER = 5.0
"""Standard deviations at which a number is cut: Whisper has a few giant ones."""

States = NDArray[np.float32]


def main() -> int:
    """Write the folder that `data.teacher` names."""
    parser = argparse.ArgumentParser(prog="python -m asr.training.teach", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("whisper", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--size", type=int, default=160, help="numbers a state (160)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    config = read_config(args.config, args.overrides)
    cache = expand(config.data.cache or config.run.output + "/cache")
    dataset = load_dataset(
        config.data.train, config.data, Vocabulary.letters(), RATE, cache,
        limit_hours=config.data.limit_hours, seed=config.run.seed,
    )
    raw = encode_all(args.whisper, dataset.store, args.threads)
    kept, share = compress(raw, args.size, seed=config.run.seed)
    write_states(args.folder, [r.audio for r in dataset.recordings], kept)
    sys.stderr.write(f"{len(kept)} recordings, {share:.0%} of the variance kept\n")
    return 0


def encode_all(whisper: Path, store: AudioStore, threads: int) -> list[NDArray[np.float16]]:
    """The encoder's states of each recording, one every 40 ms."""
    import ctranslate2
    from faster_whisper.feature_extractor import FeatureExtractor

    model = ctranslate2.models.Whisper(
        str(whisper), device="cpu", compute_type="float32", intra_threads=threads
    )
    mels = FeatureExtractor(feature_size=80)
    found: list[NDArray[np.float16]] = [np.zeros((0, 1), np.float16)] * len(store)
    batches = bucketed_batches(
        store.lengths, budget=round(BATCH_SECONDS * RATE), rows=64, seed=0, number=0
    )
    for rows in tqdm(batches, desc="teaching", unit="batch", disable=None):
        clips = [(store[i].float() / 32768).numpy() for i in rows]
        for i, states in zip(rows, _encode(model, mels, clips), strict=True):
            found[i] = states
    return found


def _encode(model: Any, mels: Any, clips: list[States]) -> Iterator[NDArray[np.float16]]:
    import ctranslate2

    hop, hops_a_state = 160, 2
    longest = max(map(len, clips)) + round(MARGIN_SECONDS * RATE)
    frames = longest // hop // hops_a_state * hops_a_state
    size = frames * hop
    padded = np.stack([np.pad(clip, (0, max(0, size - len(clip))))[:size] for clip in clips])
    features = np.stack([mels(row, padding=0)[:, :frames] for row in padded])
    view = ctranslate2.StorageView.from_array(np.ascontiguousarray(features, np.float32))
    states = np.array(model.encode(view, to_cpu=True))  # (clips, frames / 2, width)
    for row, clip in zip(states, clips, strict=True):
        count = -(-len(clip) // round(FRAME_SECONDS * RATE))
        pairs = row[: 2 * count].reshape(-1, 2, row.shape[-1])  # of 20 ms
        yield pairs.mean(axis=1).astype(np.float16)


def compress(
    states: list[NDArray[np.float16]], size: int, *, seed: int
) -> tuple[list[NDArray[np.float16]], float]:
    """Principal components of standardised states, and the share of variance they keep."""
    rng = np.random.default_rng(seed)
    share = min(1.0, SAMPLE_FRAMES / sum(map(len, states)))
    sample = np.concatenate(
        [rows[rng.random(len(rows)) < share] for rows in states]
    ).astype(np.float32)
    mean, deviation = sample.mean(0), sample.std(0) + 1e-6

    def standardised(rows: NDArray[np.floating[Any]]) -> States:
        wide: States = np.clip((rows.astype(np.float32) - mean) / deviation, -OUTLIER, OUTLIER)
        return wide

    variances, axes = np.linalg.eigh(np.cov(standardised(sample).T))  # ascending
    variances, axes = variances[::-1][:size], axes[:, ::-1][:, :size]
    scale = np.sqrt(variances.mean())
    kept = [(standardised(rows) @ axes / scale).astype(np.float16) for rows in states]
    return kept, float(variances.sum() / np.var(standardised(sample), axis=0).sum())


if __name__ == "__main__":
    sys.exit(main())
