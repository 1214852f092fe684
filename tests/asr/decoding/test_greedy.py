"""Best-path decoding against the definition of CTC's collapse."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.decoding.base import Hypothesis, LastTokens
from asr.decoding.greedy import GreedyDecoder
from asr.vocabulary import BLANK_ID


def collapse(path: Sequence[int]) -> tuple[int, ...]:
    return tuple(token for token, _ in groupby(path) if token != BLANK_ID)


def scores_of(path: Sequence[int], width: int = 4) -> Tensor:
    """Log-probs that make `path` the best; each frame a little clearer than the one before."""
    rows = torch.zeros(len(path), width)
    for frame, token in enumerate(path):
        rows[frame, token] = 3.0 + 0.1 * frame
    return rows.log_softmax(-1)


def decode(
    log_probs: Tensor, sizes: Sequence[int] = (), last: int = BLANK_ID
) -> Hypothesis:
    stream = GreedyDecoder().new_stream(LastTokens(letter=last))
    at = 0
    for size in sizes or [len(log_probs)]:
        stream.advance(log_probs[at : at + size])
        at += size
    return stream.hypothesis()


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(seed=st.integers(0, 10_000), frames=st.integers(0, 5))
def test_the_best_of_all_paths_is_found(seed: int, frames: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(frames, 3, generator=generator).log_softmax(-1)
    best = max(
        product(range(3), repeat=frames),
        key=lambda path: sum(float(row[token]) for row, token in zip(log_probs, path, strict=True)),
    )
    found = decode(log_probs)
    assert found.tokens == collapse(best)
    score = sum(float(row[token]) for row, token in zip(log_probs, best, strict=True))
    assert found.score == pytest.approx(score)
    assert found.length == frames


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(
    path=st.lists(st.integers(0, 3), max_size=14),
    cuts=st.lists(st.integers(0, 14), max_size=4),
)
def test_chunks_do_not_matter(path: list[int], cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(path)) for cut in cuts), len(path)]
    sizes = [b - a for a, b in pairwise(edges)]
    found = decode(scores_of(path), sizes)
    assert found == decode(scores_of(path))
    assert found.tokens == collapse(path)


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(path=st.lists(st.integers(0, 3), max_size=14), cut=st.integers(0, 14))
def test_a_forced_cut_anywhere_neither_doubles_nor_loses_a_token(path: list[int], cut: int) -> None:
    decoder = GreedyDecoder()
    first = decoder.new_stream()
    first.advance(scores_of(path)[:cut])
    second = decoder.new_stream(first.last_tokens)
    second.advance(scores_of(path)[cut:])
    assert first.hypothesis().tokens + second.hypothesis().tokens == collapse(path)


def test_a_token_is_repeated_only_behind_a_blank() -> None:
    assert decode(scores_of([1, 1, 0, 1, 2, 2, 1])).tokens == (1, 1, 2, 1)


def test_tokens_carry_their_first_frame_and_their_clearest_score() -> None:
    path = [0, 1, 1, 0, 0, 2]
    log_probs = scores_of(path)
    found = decode(log_probs)
    assert found.frames == (1, 5)
    # frames grow clearer: the second of the two counts
    assert found.log_probs == pytest.approx((float(log_probs[2, 1]), float(log_probs[5, 2])))


@pytest.mark.parametrize(
    ("path", "blanks"), [([], 0), ([0, 0], 2), ([1], 0), ([1, 1, 0], 1), ([0, 1, 0, 0, 0], 3)]
)
def test_trailing_blanks_are_counted(path: list[int], blanks: int) -> None:
    assert decode(scores_of(path)).trailing_blanks == blanks


def test_a_token_held_over_a_cut_is_sound_not_silence() -> None:
    found = decode(scores_of([1, 1, 0]), last=1)
    assert found.tokens == ()
    assert found.trailing_blanks == 1
    assert found.length == 3


def test_what_is_held_over_a_cut_does_not_lift_the_next_token() -> None:
    log_probs = scores_of([1, 2])
    found = decode(log_probs, last=1)
    assert found.tokens == (2,)
    assert found.log_probs == pytest.approx((float(log_probs[1, 2]),))


def test_the_last_token_is_a_blank_after_silence() -> None:
    stream = GreedyDecoder().new_stream()
    assert stream.last_tokens.letter == BLANK_ID
    stream.advance(scores_of([1]))
    assert stream.last_tokens.letter == 1
    stream.advance(scores_of([0]))
    assert stream.last_tokens.letter == BLANK_ID


def test_reading_is_pure_and_nothing_is_an_empty_hypothesis() -> None:
    stream = GreedyDecoder().new_stream()
    assert stream.hypothesis() == Hypothesis()
    stream.advance(scores_of([]))
    assert stream.hypothesis() == Hypothesis()
    stream.advance(scores_of([1]))
    before = stream.hypothesis()
    stream.advance(scores_of([2]))
    assert before.tokens == (1,)


def test_streams_of_one_decoder_are_apart() -> None:
    decoder = GreedyDecoder()
    first, second = decoder.new_stream(), decoder.new_stream()
    first.advance(scores_of([1]))
    assert second.hypothesis() == Hypothesis()
