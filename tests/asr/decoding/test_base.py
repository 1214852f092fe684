"""Words of a hypothesis: their text, times and confidences."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.base import Hypothesis, TimeShift, text_of, words_of
from asr.vocabulary import BLANK, Vocabulary

LETTERS = Vocabulary.letters()
PIECES = Vocabulary((BLANK, "▁tu", "rn", "▁on", "▁"))


def hypothesis(tokens: list[int], frames: list[int], log_prob: float = -0.1) -> Hypothesis:
    scores = tuple([log_prob] * len(tokens))
    return Hypothesis(tuple(tokens), tuple(frames), scores, length=frames[-1] + 1)


def test_letters_are_cut_into_words_at_boundaries() -> None:
    found = hypothesis(LETTERS.encode("so it"), [2, 5, 6, 10, 11])
    so, it = words_of(found, LETTERS, 0.04)
    assert (so.text, it.text) == ("so", "it")
    assert (so.start, so.end, it.start, it.end) == pytest.approx((0.08, 0.24, 0.40, 0.48))
    assert (so.confidence, it.confidence) == pytest.approx((math.exp(-0.1), math.exp(-0.1)))


def test_pieces_are_cut_where_a_piece_starts_a_word() -> None:
    found = hypothesis([1, 2, 3], [0, 3, 9])
    words = words_of(found, PIECES, 0.1)
    assert [word.text for word in words] == ["turn", "on"]
    assert [word.start for word in words] == pytest.approx([0.0, 0.9])
    assert [word.end for word in words] == pytest.approx([0.4, 1.0])


def test_an_offset_moves_all_times() -> None:
    found = hypothesis(LETTERS.encode("a"), [3])
    (word,) = words_of(found, LETTERS, 0.04, offset=10.0)
    assert (word.start, word.end) == pytest.approx((10.12, 10.16))


def test_confidence_is_the_geometric_mean_of_the_words_tokens() -> None:
    found = Hypothesis(tuple(LETTERS.encode("ab c")), (0, 1, 2, 3), (-1.0, -0.2, -9.0, 0.0), 0.0, 4)
    assert [word.confidence for word in words_of(found, LETTERS, 0.04)] == pytest.approx(
        [math.exp(-0.6), 1.0]
    )


def test_boundaries_alone_are_no_words() -> None:
    boundary = LETTERS.tokens.index("▁")
    tokens = [boundary, *LETTERS.encode("a"), boundary, boundary, *LETTERS.encode("b"), boundary]
    words = words_of(hypothesis(tokens, list(range(6))), LETTERS, 0.04)
    assert text_of(words) == "a b"
    assert words_of(Hypothesis(), LETTERS, 0.04) == ()
    assert words_of(hypothesis([boundary], [0]), LETTERS, 0.04) == ()


def test_words_spell_the_text_of_all_tokens() -> None:
    text = "it's twenty to eight"
    tokens = LETTERS.encode(text)
    words = words_of(hypothesis(tokens, list(range(len(tokens)))), LETTERS, 0.04)
    assert text_of(words) == LETTERS.decode(tokens) == text


def test_times_are_moved_by_what_the_network_is_late() -> None:
    found = hypothesis(LETTERS.encode("so it"), [5, 8, 9, 15, 16])
    so, it = words_of(found, LETTERS, 0.04, offset=1.0, shift=TimeShift(-0.08, -0.04))
    assert (so.start, so.end) == pytest.approx((1.12, 1.32))
    assert (it.start, it.end) == pytest.approx((1.52, 1.64))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=8), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)
)
def test_moved_words_stay_in_order_and_in_the_utterance(
    gaps: list[int], start: float, end: float
) -> None:
    frames = list(itertools.accumulate(gaps))
    tokens = LETTERS.encode(" ".join("abcdefgh"[: len(gaps)]))[: len(gaps)]
    shift = TimeShift(start, end)
    words = words_of(hypothesis(tokens, frames), LETTERS, 0.1, shift=shift)
    times = [time for word in words for time in (word.start, word.end)]
    assert all(b - a > -1e-9 for a, b in itertools.pairwise([0.0, *times, 0.1 * frames[-1] + 0.1]))
    assert all(word.end - word.start > 0.09 for word in words)
