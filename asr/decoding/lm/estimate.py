"""Estimate an n-gram model from text: interpolated modified Kneser-Ney smoothing.

Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1998).
With D the discount of a count (one value each for 1, 2, and 3 or more) and h' the context h
without its first word:

    p(w | h) = (c(h w) - D(c(h w))) / c(h) + g(h) p(w | h')
    g(h)     = sum of the discounts behind h / c(h)

The highest order counts occurrences; the lower ones count the distinct words before an
n-gram (occurrences again where it starts with `<s>`, which nothing stands before). Below the
unigrams lies the uniform distribution over all words but `<s>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError

from .corpus import Corpus
from .ngrams import BEGIN, MAX_WORDS, NEVER, WORD_BITS, Floats, Ints, Longs, NGrams
from .prune import keep_nodes

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""For texts too small to estimate discounts from, as KenLM's --discount_fallback."""


@dataclass(frozen=True)
class Counts:
    """The n-grams of a text in the layout of `ngrams`."""

    levels: tuple[int, ...]
    parents: Ints
    words: Ints
    suffixes: Ints
    """(nodes,) the n-gram without its first word: all endings occur in the text too."""
    occurrences: Longs


def estimate(corpus: Corpus, order: int, *, min_counts: Sequence[int] = ()) -> NGrams:
    """The model of all n-grams of a corpus up to `order`.

    `min_counts` drops n-grams of two, three, ... words that occur less often (the last
    value stands for the higher orders); their mass goes to the shorter contexts.
    Raises LanguageModelError.
    """
    if not len(corpus.tokens):
        raise LanguageModelError("text", "no sentences to estimate a language model from")
    counts = count(corpus, order)
    log_probs = np.zeros(counts.levels[-1])
    backoffs = np.zeros(counts.levels[-2])
    log_probs[: counts.levels[2]] = _unigrams(counts)
    for k in range(2, order + 1):
        level = slice(counts.levels[k], counts.levels[k + 1])
        contexts = slice(counts.levels[k - 1], counts.levels[k])
        parents = counts.parents[level] - contexts.start
        size = contexts.stop - contexts.start
        adjusted = _adjusted(counts, k)
        taken = _discounts(adjusted)[np.minimum(adjusted, 3)]
        totals = np.bincount(parents, adjusted, size)
        freed = np.bincount(parents, taken, size)
        weights = np.divide(freed, totals, out=np.ones(size), where=totals > 0)
        lower = np.exp(log_probs[counts.suffixes[level]])
        log_probs[level] = np.log(
            (adjusted - taken) / totals[parents] + weights[parents] * lower
        )
        backoffs[contexts] = np.log(weights)
    words_said = len(corpus.tokens) - corpus.n_sentences
    model = NGrams(
        corpus.vocabulary, counts.levels, counts.parents, counts.words, log_probs, backoffs,
        counts.occurrences[: counts.levels[-2]] / words_said,
    )
    if any(least > 1 for least in min_counts):
        return keep_nodes(model, _frequent(counts, min_counts))
    return model


def count(corpus: Corpus, order: int) -> Counts:
    """All n-grams of a corpus up to `order`; none reaches over a sentence's end."""
    tokens, size = corpus.tokens.astype(np.int64), len(corpus.vocabulary)
    if size > MAX_WORDS:
        raise LanguageModelError("text", f"more than {MAX_WORDS} words: limit the vocabulary")
    places = np.arange(len(tokens))
    behind_begin = places - np.maximum.accumulate(np.where(tokens == BEGIN, places, 0))
    levels = [0, 1, 1 + size]
    parents = [np.zeros(1 + size, np.int32)]
    words = [np.arange(-1, size, dtype=np.int32)]
    suffixes = [np.zeros(1 + size, np.int32)]
    occurrences = [np.concatenate(([len(tokens)], corpus.counts))]
    nodes = 1 + tokens  # of the n-gram that ends at each place
    for k in range(2, order + 1):
        ends = np.flatnonzero(behind_begin >= k - 1)
        keys = (nodes[ends - 1] << WORD_BITS) + tokens[ends]
        keys, found, times = np.unique(keys, return_inverse=True, return_counts=True)
        suffix = np.empty(len(keys), np.int32)
        suffix[found] = nodes[ends]
        suffixes.append(suffix)
        parents.append((keys >> WORD_BITS).astype(np.int32))
        words.append((keys & (MAX_WORDS - 1)).astype(np.int32))
        occurrences.append(times)
        nodes[ends] = levels[-1] + found
        levels.append(levels[-1] + len(keys))
    return Counts(
        tuple(levels), np.concatenate(parents), np.concatenate(words), np.concatenate(suffixes),
        np.concatenate(occurrences),
    )


def _unigrams(counts: Counts) -> Floats:
    """Log-probabilities of the root (0) and the unigrams."""
    adjusted = _adjusted(counts, 1)
    adjusted[BEGIN] = 0
    taken = _discounts(adjusted)[np.minimum(adjusted, 3)]
    total = adjusted.sum()
    probs = (adjusted - taken) / total + taken.sum() / total / (len(adjusted) - 1)
    log_probs = np.log(np.maximum(probs, np.finfo(float).tiny))
    log_probs[BEGIN] = NEVER
    return np.concatenate(([0.0], log_probs))


def _adjusted(counts: Counts, k: int) -> Longs:
    """What smoothing counts for the n-grams of order k."""
    level = slice(counts.levels[k], counts.levels[k + 1])
    occurrences = counts.occurrences[level]
    if k == len(counts.levels) - 2:
        return occurrences.copy()
    above = slice(level.stop, counts.levels[k + 2])
    before = np.bincount(counts.suffixes[above] - level.start, minlength=level.stop - level.start)
    first: NDArray[np.integer] = np.arange(level.start, level.stop)
    for _ in range(k - 1):
        first = counts.parents[first]
    return np.where(first == 1 + BEGIN, occurrences, before)


def _discounts(counts: Longs) -> NDArray[np.float64]:
    """D for counts of 0, 1, 2, and 3 or more."""
    n = np.bincount(np.minimum(counts, 5), minlength=6).astype(float)
    if n[1:5].all():
        y = n[1] / (n[1] + 2 * n[2])
        found = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
        if all(0 < discount < k for k, discount in enumerate(found, 1)):
            return np.array([0.0, *found])
    return np.array([0.0, *FALLBACK_DISCOUNTS])


def _frequent(counts: Counts, min_counts: Sequence[int]) -> NDArray[np.bool_]:
    """(nodes,) whether an n-gram occurs often enough."""
    keep = np.ones(counts.levels[-1], bool)
    for k in range(2, len(counts.levels) - 1):
        level = slice(counts.levels[k], counts.levels[k + 1])
        least = min_counts[min(k - 2, len(min_counts) - 1)]
        keep[level] = counts.occurrences[level] >= least
    return keep
