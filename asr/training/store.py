"""Decoded audio of many recordings as one memory-mapped array of int16 samples.

Decoding a corpus takes longer than a pass over it should; the array is made once and kept.
It also fits a GPU's memory as it is (31 hours are 3.6 GB).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from asr.errors import AudioFileError

from .devices import send

READ_AHEAD = 256
"""Recordings that are decoded at the same time at most."""


class AudioStore:
    """Samples of recording i are `samples[starts[i] : starts[i + 1]]`, mono int16."""

    def __init__(self, samples: Tensor, starts: NDArray[np.int64], sample_rate: int) -> None:
        self.samples, self.starts, self.sample_rate = samples, starts, sample_rate

    @classmethod
    def open(cls, paths: Sequence[Path], cache: Path, sample_rate: int) -> AudioStore:
        """Decode `paths` into files below `cache`, or open what an earlier run left there.

        Raises AudioFileError for a recording that cannot be decoded.
        """
        stamp = [[str(p), _size(p)] for p in paths]
        key = hashlib.sha256(json.dumps([sample_rate, stamp]).encode()).hexdigest()[:16]
        data, index = cache / f"{key}.s16", cache / f"{key}.npy"
        if not index.exists():
            cache.mkdir(parents=True, exist_ok=True)
            _decode_all(paths, data, index, sample_rate)
        starts = np.load(index)
        total = int(starts[-1])
        samples = (
            torch.from_file(str(data), shared=False, size=total, dtype=torch.int16)
            if total
            else torch.zeros(0, dtype=torch.int16)
        )
        return cls(samples, starts, sample_rate)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Samples of each recording."""
        return np.diff(self.starts)

    def to(self, device: torch.device) -> AudioStore:
        """The same with its samples on another device."""
        return AudioStore(self.samples.to(device), self.starts, self.sample_rate)

    def padded(self, rows: Sequence[int]) -> Tensor:
        """These recordings (rows, samples) as floats, zeros behind the shorter ones."""
        starts, lengths = self.starts[np.asarray(rows)], self.lengths[np.asarray(rows)]
        device = self.samples.device
        bounds = send(torch.from_numpy(np.stack((starts, lengths))[..., None]), device)
        place = torch.arange(int(lengths.max(initial=0)), device=device)
        inside = place < bounds[1]
        index = (bounds[0] + place).clamp_(max=max(0, len(self.samples) - 1))
        if not len(self.samples):
            return torch.zeros(len(rows), 0, device=device)
        return self.samples[index].float().div_(32768).masked_fill_(~inside, 0.0)

    def __getitem__(self, i: int) -> Tensor:
        return self.samples[int(self.starts[i]) : int(self.starts[i + 1])]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise AudioFileError(path, error.strerror or "cannot be read") from error


def _decode_all(paths: Sequence[Path], data: Path, index: Path, sample_rate: int) -> None:
    starts = [0]
    part = data.with_suffix(f".part{os.getpid()}")
    with part.open("wb") as out:
        bar = tqdm(total=len(paths), desc="decoding", unit="file", disable=None)
        for samples in _decoded(paths, sample_rate):
            out.write(samples.tobytes())
            starts.append(starts[-1] + len(samples))
            bar.update()
        bar.close()
    part.replace(data)
    part_index = index.with_suffix(f".part{os.getpid()}.npy")
    np.save(part_index, np.array(starts, dtype=np.int64))
    part_index.replace(index)  # last: its presence says that both are complete


def _decoded(paths: Sequence[Path], sample_rate: int) -> Iterator[NDArray[np.int16]]:
    """The recordings in order; libsndfile lets threads decode side by side."""
    with ThreadPoolExecutor(_processors()) as threads:
        for at in range(0, len(paths), READ_AHEAD):
            yield from threads.map(decode, paths[at : at + READ_AHEAD], repeat(sample_rate))


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def decode(path: Path, sample_rate: int) -> NDArray[np.int16]:
    """One recording as mono int16 at `sample_rate`; AudioFileError if that fails."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioFileError(path, str(error)) from error
    mono = samples.mean(axis=1)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    pcm: NDArray[np.int16] = (np.clip(mono, -1.0, 1.0) * 32767).round().astype(np.int16)
    return pcm
