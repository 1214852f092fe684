"""Promises of word confidences."""

from __future__ import annotations

import math

import pytest

from asr.decoding.base import Hypothesis, Word
from asr.decoding.confidence import ConfidenceConfig, log_odds, with_confidences, word_shares
from asr.metrics import calibration_error, correct_words, reliability
from asr.vocabulary import Vocabulary

LETTERS = Vocabulary.letters()


def reading(text: str, probability: float, late: int = 0) -> Hypothesis:
    tokens = LETTERS.encode(text)
    frames = tuple(range(late, late + len(tokens)))
    return Hypothesis(tuple(tokens), frames, (0.0,) * len(tokens), math.log(probability))


def test_a_word_has_the_share_of_the_readings_that_hold_it() -> None:
    readings = [reading("the cat", 0.5), reading("the cut", 0.3), reading("a cat", 0.2)]
    assert word_shares(readings, LETTERS) == pytest.approx([0.8, 0.7])


def test_the_same_word_elsewhere_is_another_word() -> None:
    readings = [reading("cat", 0.6), reading("cat", 0.4, late=40)]
    assert word_shares(readings, LETTERS) == pytest.approx([0.6])


def test_confidence_grows_with_both_measures() -> None:
    config = ConfidenceConfig(bias=1.0, acoustic=2.0, posterior=0.5)
    sure = with_confidences([Word("a", 0, 1, 0.9)], [0.95], config)[0].confidence
    unclear = with_confidences([Word("a", 0, 1, 0.5)], [0.95], config)[0].confidence
    rivalled = with_confidences([Word("a", 0, 1, 0.9)], [0.4], config)[0].confidence
    assert 0 < unclear < sure < 1
    assert 0 < rivalled < sure
    assert sure == pytest.approx(
        1 / (1 + math.exp(-(1 + 2 * math.log(0.9) + 0.5 * log_odds(0.95))))
    )


def test_certain_shares_stay_finite() -> None:
    assert log_odds(1.0) == pytest.approx(-log_odds(0.0))
    assert math.isfinite(log_odds(1.0))


def test_right_words_are_those_of_the_alignment() -> None:
    assert correct_words("turn on the light", "turn in light") == [True, False, True]
    assert correct_words("", "noise") == [False]
    assert correct_words("word", "") == []


def test_calibration_is_measured_bin_by_bin() -> None:
    confidences, right = [0.95, 0.95, 0.15, 0.15], [True, False, False, False]
    cells = reliability(confidences, right)
    assert [(c.words, c.accuracy) for c in cells] == [(2, 0.0), (2, 0.5)]
    assert calibration_error(confidences, right) == pytest.approx((0.15 + 0.45) / 2)
    assert calibration_error([1.0, 0.0], [True, False]) == 0.0
    assert calibration_error([], []) == 0.0
