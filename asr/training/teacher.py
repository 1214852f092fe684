"""Dense targets: the hidden states of a larger recogniser, learnt beside CTC.

A small corpus says little about each frame; a teacher that heard thousands of hours says much
(FitNets, Romero et al. 2015; for streaming students of Whisper, arXiv 2409.13499). The student
hears the augmented copy and predicts what the teacher made of the clean one, somewhat later,
because it sees only the past. Only training needs the teacher, and only its file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr.errors import ManifestError

from .devices import send

FRAME_SECONDS = 0.04
STATES, RECORDINGS = STATES_FILES = ("states.npy", "recordings.jsonl")


class TeacherStates:
    """States of recording i are `values[starts[i] : starts[i + 1]]`, one every 40 ms.

    A folder of them holds `states.npy` (float16, frames by dimensions) and `recordings.jsonl`
    with one object a recording: `audio` (the file's name), `frames`.
    """

    def __init__(self, values: Tensor, starts: NDArray[np.int64]) -> None:
        self._values, self._starts = values, starts

    @classmethod
    def open(cls, folder: Path, audio: Sequence[Path]) -> TeacherStates:
        """The states of these recordings, by their file names; ManifestError if any lacks."""
        try:
            lines = (folder / RECORDINGS).read_text(encoding="utf-8").splitlines()
            values = np.load(folder / STATES, mmap_mode="c")  # torch wants it writable
            rows = [json.loads(line) for line in lines]
            frames = np.array([row["frames"] for row in rows], dtype=np.int64)
            names = [str(row["audio"]) for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ManifestError(f"{folder}: no folder of teacher states: {error}") from error
        if names != [path.name for path in audio] or frames.sum() != len(values):
            raise ManifestError(f"{folder}: made for other recordings than those of this run")
        return cls(torch.from_numpy(values), np.concatenate(([0], np.cumsum(frames))))

    @property
    def size(self) -> int:
        """Dimensions of a state."""
        return int(self._values.shape[1])

    def to(self, device: torch.device) -> TeacherStates:
        """The same with its states on another device: 31 hours of 160 numbers take 0.9 GB."""
        return TeacherStates(self._values.to(device), self._starts)

    def at(
        self, rows: Sequence[int], times: NDArray[np.floating[Any]]
    ) -> tuple[Tensor, Tensor]:
        """States (rows, frames, size) of recordings at `times` (rows, frames) in seconds.

        The second tensor (rows, frames) tells which of them exist.
        """
        begin = self._starts[np.asarray(rows)][:, None]
        count = self._starts[np.asarray(rows) + 1][:, None] - begin
        # a little more, lest rounding puts the start of a frame before it
        index = np.floor(times / FRAME_SECONDS + 1e-6).astype(np.int64)
        exists = (index >= 0) & (index < count)
        index = begin + np.clip(index, 0, np.maximum(0, count - 1))
        device = self._values.device
        chosen = self._values[send(torch.from_numpy(index), device)]
        return chosen.float(), send(torch.from_numpy(exists), device)


def write_states(
    folder: Path, audio: Sequence[Path], states: Sequence[NDArray[np.floating[Any]]]
) -> None:
    """Write such a folder from the states (frames, size) of each recording."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / STATES, np.concatenate(states).astype(np.float16))
    with (folder / RECORDINGS).open("w", encoding="utf-8") as file:
        for path, rows in zip(audio, states, strict=True):
            file.write(json.dumps({"audio": path.name, "frames": len(rows)}) + "\n")


class TeacherHead(nn.Module):
    """Predicts the teacher's states from hidden vectors; it is not exported."""

    def __init__(self, hidden_size: int, emissions: int, size: int) -> None:
        super().__init__()
        self.size = size
        width = emissions * size
        self.net = nn.Sequential(nn.LayerNorm(hidden_size), nn.Linear(hidden_size, width))

    def loss(self, hidden: Tensor, states: Tensor, exists: Tensor) -> Tensor:
        """Mean squared error per dimension: about 1 for a guess of the mean.

        `hidden` is (batch, steps, hidden_size), `states` (batch, frames, size).
        """
        predicted = self.net(hidden).float().reshape(len(hidden), -1, self.size)
        frames = min(predicted.shape[1], states.shape[1])
        error = (predicted[:, :frames] - states[:, :frames]).square().mean(-1)
        counted = exists[:, :frames]
        mean: Tensor = (error * counted).sum() / counted.sum().clamp(min=1)
        return mean
