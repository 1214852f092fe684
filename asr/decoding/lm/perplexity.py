"""Judge a language model by a text: unknown words and perplexity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .corpus import Corpus, restrict
from .language_model import LanguageModel
from .ngrams import BEGIN, UNKNOWN

BATCH = 4096
"""Sentences scored side by side."""


@dataclass(frozen=True)
class Perplexity:
    """Sums over a text; logarithms are natural."""

    sentences: int
    words: int
    unknown: int
    """Words outside the vocabulary."""
    log_prob: float
    """Of all words and sentence ends, unknown words as `<unk>`."""
    known_log_prob: float
    """The same without the unknown words."""

    @property
    def oov_rate(self) -> float:
        """Share of the words that are unknown."""
        return self.unknown / max(self.words, 1)

    @property
    def with_unknown(self) -> float:
        """Perplexity of all words and sentence ends."""
        return math.exp(-self.log_prob / max(self.words + self.sentences, 1))

    @property
    def without_unknown(self) -> float:
        """Perplexity of the known words and the sentence ends."""
        return math.exp(-self.known_log_prob / max(self.words - self.unknown + self.sentences, 1))


def perplexity(model: LanguageModel, corpus: Corpus) -> Perplexity:
    """Score each sentence from its beginning to its end."""
    tokens = restrict(corpus, model.words).tokens
    starts = np.flatnonzero(tokens == BEGIN)
    lengths = np.diff(np.append(starts, len(tokens))) - 1  # words and </s>
    # neighbours of one length: a batch shrinks little on its way
    ranked = np.argsort(-lengths, kind="stable")
    log_prob = known_log_prob = 0.0
    for at in range(0, len(ranked), BATCH):
        rows = ranked[at : at + BATCH]
        states = np.full(len(rows), model.begin, np.int32)
        for step in range(1, int(lengths[rows[0]]) + 1):
            n = int(np.count_nonzero(lengths[rows] >= step))
            words = tokens[starts[rows[:n]] + step]
            log_probs, states = model.score(states[:n], words)
            log_prob += float(log_probs.sum(dtype=float))
            known_log_prob += float(log_probs[words != UNKNOWN].sum(dtype=float))
    n_words = len(tokens) - 2 * len(starts)
    unknown = int(np.count_nonzero(tokens == UNKNOWN))
    return Perplexity(len(starts), n_words, unknown, log_prob, known_log_prob)
