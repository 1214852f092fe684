"""Promises of the prefix beam search."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.decoding.base import LastTokens
from asr.decoding.beam import BeamConfig, BeamDecoder, BeamStream
from asr.decoding.greedy import GreedyDecoder
from asr.vocabulary import BLANK_ID

UNLIMITED = {"beam": 10_000, "top_k": 100, "token_threshold": 1e9, "beam_threshold": 1e9,
             "blank_skip": 2.0}


def random_log_probs(seed: int, frames: int, vocab: int, sharpness: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(frames, vocab, generator=generator) * sharpness
    return scores.double().log_softmax(-1)


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != BLANK_ID)


def brute_force(log_probs: Tensor) -> dict[tuple[int, ...], float]:
    """Log-probability of every token sequence, summed over all of its alignments."""
    frames, vocab = log_probs.shape
    totals: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(vocab), repeat=frames):
        score = sum(float(log_probs[t, token]) for t, token in enumerate(path))
        totals[collapse(path)] += float(np.exp(score))
    return {tokens: float(np.log(total)) for tokens, total in totals.items()}


def decode(log_probs: Tensor, *, chunk: int = 1000, **settings: float) -> BeamStream:
    stream = BeamDecoder(BeamConfig(**settings)).new_stream()  # type: ignore[arg-type]
    for part in log_probs.split(chunk):
        stream.advance(part)
    return stream


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(2, 4))
def test_unlimited_search_equals_the_sum_over_all_paths(seed: int, frames: int, vocab: int) -> None:
    log_probs = random_log_probs(seed, frames, vocab)
    expected = brute_force(log_probs)
    found = decode(log_probs, **UNLIMITED).n_best(10_000)
    assert {h.tokens: pytest.approx(h.score) for h in found} == expected
    assert found[0].tokens == max(expected, key=lambda tokens: expected[tokens])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_the_best_single_path_is_the_greedy_one(seed: int, frames: int) -> None:
    log_probs = random_log_probs(seed, frames, 6, sharpness=2.0)
    greedy = GreedyDecoder().new_stream()
    greedy.advance(log_probs)
    stream = decode(log_probs, **(UNLIMITED | {"beam": 1, "total": False}))
    assert stream.hypothesis().tokens == greedy.hypothesis().tokens
    assert stream.hypothesis().score == pytest.approx(greedy.hypothesis().score)
    assert stream.last_tokens == greedy.last_tokens


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_the_stable_part_never_changes(seed: int, beam: int) -> None:
    log_probs = random_log_probs(seed, 60, 6, sharpness=1.5)
    stream = BeamDecoder(BeamConfig(beam=beam)).new_stream()
    shown: tuple[int, ...] = ()
    for part in log_probs.split(4):
        stream.advance(part)
        best = stream.hypothesis()
        assert len(best.tokens) >= best.stable >= len(shown)
        for other in stream.n_best(beam):
            assert other.tokens[: len(shown)] == shown
        shown = best.tokens[: best.stable]
    assert stream.hypothesis(final=True).tokens[: len(shown)] == shown


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 9))
def test_chunks_do_not_matter(seed: int, chunk: int) -> None:
    log_probs = random_log_probs(seed, 40, 8, sharpness=2.0)
    whole, cut = decode(log_probs).n_best(8), decode(log_probs, chunk=chunk).n_best(8)
    assert [(h.tokens, h.frames, h.log_probs) for h in whole] == [
        (h.tokens, h.frames, h.log_probs) for h in cut
    ]


def test_prefixes_are_forgotten_and_paths_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    log_probs = random_log_probs(3, 400, 10, sharpness=2.0)
    roomy = decode(log_probs, chunk=5, beam=20)
    monkeypatch.setattr("asr.decoding.prefix_tree.FULL", 300)
    tight = decode(log_probs, chunk=5, beam=20)
    assert tight.n_best(20) == roomy.n_best(20)
    assert tight._tree._size < roomy._tree._size / 4


def test_certain_blanks_are_skipped_without_harm() -> None:
    log_probs = random_log_probs(5, 60, 6, sharpness=3.0)
    log_probs[::3] = torch.tensor([0.9999, *[0.00002] * 5]).log().double()
    searched = decode(log_probs, blank_skip=2.0).hypothesis()
    skipped = decode(log_probs, blank_skip=0.99).hypothesis()
    assert skipped.tokens == searched.tokens
    assert skipped.score == pytest.approx(searched.score, abs=0.01)


def test_a_token_handed_over_at_a_cut_is_not_written_again() -> None:
    held = torch.tensor([[0.05, 0.9, 0.05]] * 2).log().double()
    again = torch.cat((held, torch.tensor([[0.9, 0.05, 0.05]]).log().double(), held))
    decoder = BeamDecoder()
    stream = decoder.new_stream(LastTokens(letter=1))
    stream.advance(held)
    assert stream.hypothesis().tokens == ()
    stream = decoder.new_stream(LastTokens(letter=1))
    stream.advance(again)
    assert stream.hypothesis().tokens == (1,)


def test_a_token_stands_at_its_clearest_frame() -> None:
    rows = [[0.9, 0.1], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.95, 0.05], [0.2, 0.8], [0.9, 0.1]]
    stream = decode(torch.tensor(rows).log().double())
    best = stream.hypothesis()
    assert (best.tokens, best.frames) == ((1, 1), (2, 5))
    assert np.exp(best.log_probs) == pytest.approx([0.9, 0.8])
    assert (best.length, best.trailing_blanks) == (7, 1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(1, 7))
def test_tokens_follow_each_other_in_time(seed: int, beam: int, chunk: int) -> None:
    stream = decode(random_log_probs(seed, 60, 6, sharpness=1.5), chunk=chunk, beam=beam)
    for reading in stream.n_best(beam):
        assert all(a < b for a, b in itertools.pairwise(reading.frames))
        assert all(0 <= frame < reading.length for frame in reading.frames)


def test_no_audio_gives_the_empty_hypothesis() -> None:
    stream = BeamDecoder().new_stream()
    stream.advance(torch.zeros(0, 5))
    best = stream.hypothesis(final=True)
    assert (best.tokens, best.stable, best.length, best.trailing_blanks) == ((), 0, 0, 0)
