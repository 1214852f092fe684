"""How sure each word is: acoustics and rival readings, mapped to a calibrated probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from asr.vocabulary import Vocabulary

from .base import Hypothesis, Word, words_of

NEAR_FRAMES = 8
"""Words of two readings are the same word where they spell alike and are this near."""


@dataclass(frozen=True)
class ConfidenceConfig:
    """A logistic model (Platt 1999) over two measures of a word; fitted by `asrd tune`."""

    bias: float = 0.0
    acoustic: float = 1.0
    """Weight of the mean log-probability of the word's tokens at their peaks."""
    posterior: float = 1.0
    """Weight of the log-odds of the word among the readings that the search kept."""

    def __call__(self, acoustic: float, log_odds: float) -> float:
        """The probability that a word is right."""
        score = self.bias + self.acoustic * acoustic + self.posterior * log_odds
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


def log_odds(share: float) -> float:
    """Of a share in [0, 1], kept within what a beam can tell."""
    share = min(max(share, 0.01), 0.99)
    return math.log(share / (1 - share))


def word_shares(readings: Sequence[Hypothesis], vocabulary: Vocabulary) -> list[float]:
    """For each word of the first reading, the share of all readings' mass that holds it."""
    if not readings:
        return []
    best = readings[0].score
    masses = [math.exp(max(-700.0, reading.score - best)) for reading in readings]
    spoken = [words_of(reading, vocabulary, 1.0) for reading in readings]
    shares = []
    for word in spoken[0]:
        held = sum(
            mass
            for mass, words in zip(masses, spoken, strict=True)
            if any(w.text == word.text and abs(w.start - word.start) <= NEAR_FRAMES for w in words)
        )
        shares.append(held / sum(masses))
    return shares


def with_confidences(
    words: Sequence[Word], shares: Sequence[float], config: ConfidenceConfig
) -> tuple[Word, ...]:
    """The words of `words_of` with calibrated confidences in the place of probabilities."""
    return tuple(
        replace(word, confidence=config(math.log(max(word.confidence, 1e-9)), log_odds(share)))
        for word, share in zip(words, shares, strict=True)
    )
