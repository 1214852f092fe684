"""Error counts against a plain dynamic programme."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.metrics import (
    ErrorCounts,
    character_errors,
    count_errors,
    matching_words,
    word_errors,
)

WORDS = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=8)


def distance(reference: list[str], hypothesis: list[str]) -> int:
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(hypothesis, 1):
            best = min(previous + (word != other), row[j] + 1, row[j - 1] + 1)
            previous, row[j] = row[j], best
    return row[-1]


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(reference=WORDS, hypothesis=WORDS)
def test_errors_are_the_fewest_edits(reference: list[str], hypothesis: list[str]) -> None:
    counts = count_errors(reference, hypothesis)
    assert counts.errors == distance(reference, hypothesis)
    assert counts.reference == len(reference)
    assert len(hypothesis) == len(reference) + counts.insertions - counts.deletions


def test_each_kind_of_error_is_counted() -> None:
    assert word_errors("turn on the light", "turn the lights") == ErrorCounts(4, 1, 1, 0)
    assert word_errors("stop", "please stop") == ErrorCounts(1, 0, 0, 1)
    assert character_errors("a bc", "abd") == ErrorCounts(4, 1, 1, 0)


def test_case_and_spaces_between_words() -> None:
    assert word_errors(" a  b ", "a b").errors == 0
    assert word_errors("A", "a").errors == 1


def test_counts_add_up() -> None:
    total = word_errors("a b", "a") + word_errors("c", "d e")
    assert total == ErrorCounts(3, 1, 1, 1)
    assert total.rate == pytest.approx(1.0)


def test_the_rate_may_pass_one_and_needs_a_reference() -> None:
    assert word_errors("a", "b c d").rate == 3.0
    assert word_errors("", "").rate is None
    assert word_errors("", "a") == ErrorCounts(0, 0, 0, 1)
    assert word_errors("", "a").rate is None


@given(WORDS, WORDS)
def test_matching_words_are_those_that_no_edit_touches(
    reference: list[str], hypothesis: list[str]
) -> None:
    pairs = matching_words(reference, hypothesis)
    counts = count_errors(reference, hypothesis)
    assert len(pairs) == len(reference) - counts.substitutions - counts.deletions
    assert all(reference[i] == hypothesis[j] for i, j in pairs)
    assert pairs == sorted(pairs)
