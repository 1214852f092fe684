"""The likeliest alignment of given tokens with what the network heard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr.vocabulary import BLANK_ID

Floats = NDArray[np.float64]


def align(log_probs: Floats, tokens: Sequence[int], last_token: int = BLANK_ID) -> Floats:
    """Log-probability of each frame (frames,) on the best CTC path that spells `tokens`.

    All are -inf where the frames are too few. `log_probs` is (frames, vocab). A `last_token`
    that an earlier cut has emitted may be held before the first of `tokens`.
    """
    states = np.full(2 * len(tokens) + 1, BLANK_ID)
    states[1::2] = tokens
    if last_token != BLANK_ID:  # held, then a blank as ever
        states = np.concatenate(([last_token], states))
    # a token may follow the one before it without a blank, unless it is the same again
    jumps = np.zeros(len(states), bool)
    jumps[2:] = (states[2:] != BLANK_ID) & (states[2:] != states[:-2])
    emitted = log_probs[:, states]  # (frames, states)
    best = np.full(len(states), -np.inf)
    came = np.zeros(emitted.shape, np.int8)
    for t, row in enumerate(emitted):
        if t == 0:
            reach = np.full(len(states), -np.inf)
            reach[:2] = 0.0
            if last_token != BLANK_ID:
                reach[2:3] = np.where(jumps[2:3], 0.0, -np.inf)
        else:
            reach = best.copy()
            step, jump = best[:-1], np.where(jumps[2:], best[:-2], -np.inf)
            came[t, 1:] = step > reach[1:]
            np.maximum(reach[1:], step, out=reach[1:])
            came[t, 2:][jump > reach[2:]] = 2
            np.maximum(reach[2:], jump, out=reach[2:])
        best = reach + row
    if not len(emitted):
        return np.zeros(0)
    state = len(states) - 1 - int(len(states) > 1 and best[-2] > best[-1])
    if not np.isfinite(best[state]):
        return np.full(len(emitted), -np.inf)
    path = np.empty(len(emitted))
    for t in range(len(emitted) - 1, -1, -1):
        path[t] = emitted[t, state]
        state -= int(came[t, state])
    return path
