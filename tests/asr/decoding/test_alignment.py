"""Promises of forced alignment."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.alignment import align
from asr.vocabulary import BLANK_ID

from .test_beam import random_log_probs


def spelled(path: tuple[int, ...], last: int = BLANK_ID) -> list[int]:
    """What a path of tokens and blanks writes."""
    before = (last, *path)
    return [t for b, t in itertools.pairwise(before) if t not in (BLANK_ID, b)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 10_000), st.integers(1, 5),
    st.lists(st.integers(1, 2), max_size=3), st.integers(0, 2),
)
def test_the_best_of_all_paths_that_spell_the_tokens_is_found(
    seed: int, frames: int, tokens: list[int], last: int
) -> None:
    log_probs = random_log_probs(seed, frames, 3).double().numpy()
    paths = [p for p in itertools.product(range(3), repeat=frames) if spelled(p, last) == tokens]
    scores = [sum(log_probs[t, token] for t, token in enumerate(path)) for path in paths]
    found = align(log_probs, tokens, last)
    assert found.shape == (frames,)
    assert found.sum() == pytest.approx(max(scores, default=-np.inf))


def test_too_few_frames_have_no_path() -> None:
    assert align(np.zeros((2, 3)), [1, 1]).tolist() == [-np.inf] * 2


def test_nothing_heard_is_nothing() -> None:
    assert align(np.zeros((0, 3)), []).shape == (0,)
