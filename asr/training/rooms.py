"""Impulse responses of simulated rooms, by the image method of pyroomacoustics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm


def room_responses(
    count: int, *, rt60: tuple[float, float], sample_rate: int, seed: int, cache: Path
) -> Tensor:
    """`count` responses shaped (count, taps), kept below `cache` between runs.

    Rooms of 2 to 9 m by 2 to 7 m and 2.3 to 3.5 m height, source and microphone anywhere in
    them, reverberation times (seconds) drawn from `rt60`. Each response begins at its direct
    sound, so that speech keeps its place in time, and has unit energy.
    """
    path = cache / responses_file(count, rt60, sample_rate, seed)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, _simulate(count, rt60, sample_rate, seed))
        part.replace(path)
    return torch.from_numpy(np.load(path)).float()


def responses_file(count: int, rt60: tuple[float, float], sample_rate: int, seed: int) -> str:
    """Name of the file in the cache that keeps such responses."""
    low, high = rt60
    return f"rooms-{count}-{low}-{high}-{sample_rate}-{seed}.npy"


def _simulate(
    count: int, rt60: tuple[float, float], sample_rate: int, seed: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    import pyroomacoustics as pra  # heavy, and only needed when no cache is there

    rng = np.random.default_rng(seed)
    taps = round(rt60[1] * sample_rate)
    responses = np.zeros((count, taps), np.float32)
    done = 0
    with tqdm(total=count, desc="rooms", disable=None) as bar:
        while done < count:
            size = rng.uniform((2.0, 2.0, 2.3), (9.0, 7.0, 3.5))
            try:
                absorption, order = pra.inverse_sabine(rng.uniform(*rt60), size)
            except ValueError:  # no wall absorbs enough for so short an echo: another room
                continue
            room = pra.ShoeBox(
                size, fs=sample_rate, materials=pra.Material(absorption), max_order=min(order, 20)
            )
            room.add_source(rng.uniform(0.3, size - 0.3))
            room.add_microphone(rng.uniform(0.3, size - 0.3))
            room.compute_rir()
            response = room.rir[0][0]
            response = response[int(np.argmax(np.abs(response))) :][:taps]
            responses[done, : len(response)] = response / np.linalg.norm(response)
            done += 1
            bar.update()
    return responses
