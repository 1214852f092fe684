"""Which recordings make up each batch: a pure function of seed, pass and lengths."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Batch = list[int]


def bucketed_batches(
    lengths: NDArray[np.int64],
    *,
    budget: int,
    rows: int,
    seed: int,
    number: int,
    ascending: bool = False,
) -> list[Batch]:
    """All recordings once, those of similar length together.

    A batch holds at most `rows` recordings and `budget` samples, padding included. Pass
    `number` of `seed` always gives the same batches; `ascending` keeps short ones first.
    """
    rng = np.random.default_rng((seed, number))
    jitter = rng.uniform(0.95, 1.05, len(lengths))  # other neighbours in every pass
    order = np.argsort(lengths * jitter, kind="stable")
    batches: list[Batch] = []
    current: Batch = []
    longest = 0
    for i in map(int, order):
        longest_with = max(longest, int(lengths[i]))
        if current and (len(current) >= rows or longest_with * (len(current) + 1) > budget):
            batches.append(current)
            current, longest_with = [], int(lengths[i])
        current.append(i)
        longest = longest_with
    if current:
        batches.append(current)
    if not ascending:
        rng.shuffle(batches)
    return batches


def stream_batches(
    speakers: list[str], *, streams: int, seed: int, number: int
) -> list[Batch]:
    """Batches whose row r continues row r of the batch before: `streams` endless streams.

    Recordings of one speaker follow each other. What does not fill all rows is left out.
    """
    rng = np.random.default_rng((seed, number))
    shuffled = map(int, rng.permutation(len(speakers)))
    ranks = {name: rank for rank, name in enumerate(rng.permutation(sorted(set(speakers))))}
    order = sorted(shuffled, key=lambda i: ranks[speakers[i]])
    steps = len(order) // streams
    return [[order[r * steps + k] for r in range(streams)] for k in range(steps)]


def share(batches: list[Batch], rank: int, world_size: int) -> list[Batch]:
    """The batches of one of `world_size` processes, equally many for each."""
    usable = len(batches) - len(batches) % world_size
    return batches[rank:usable:world_size]
