"""Make one n-gram model of several: interpolation that knows which model suits a context."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .ngrams import (
    BEGIN,
    MAX_WORDS,
    WORD_BITS,
    Floats,
    Longs,
    NGrams,
    find_nodes,
    node_keys,
    with_backoffs,
)
from .prune import context_frequencies


@dataclass
class _Source:
    """One of the models, while the levels of the mixture grow."""

    model: NGrams
    weight: float
    places: Longs
    """Mixture's node of each of the model's nodes so far."""
    log_probs: Floats
    """Of each node of the mixture so far, in this model."""
    backoffs: Floats
    """Of each node of the mixture so far, 0 where the model lacks it."""
    evidence: Floats
    """Of each node of the mixture so far, log(weight x probability of all its words)."""


def interpolate(models: Sequence[NGrams], weights: Sequence[float]) -> NGrams:
    """One model of the n-grams of all, each with a weighted mean of its probabilities.

    Behind a context, a model weighs as much as its weight times the probability that it
    gives to the context (the Bayesian mixture of SRILM's `ngram -bayes`): a text on another
    matter does not blur what it knows nothing of. The models must share one vocabulary and
    order; the weights sum to 1. Only the back-offs are an approximation.
    """
    first = models[0]
    size, order = len(first.vocabulary), first.order
    sources = [_start(model, weight) for model, weight in zip(models, weights, strict=True)]
    levels = [0, 1, 1 + size]
    parents, words = first.parents[: 1 + size], first.words[: 1 + size]
    suffixes = np.zeros(1 + size, np.int64)
    log_probs = np.logaddexp.reduce([math.log(s.weight) + s.log_probs for s in sources])
    log_probs[0] = 0.0
    for k in range(2, order + 1):
        level_keys = [_level_keys(source, k) for source in sources]
        union = np.unique(np.concatenate(level_keys))
        above, last = union >> WORD_BITS, union & (MAX_WORDS - 1)
        # where the probability comes from in a model that lacks the n-gram, and at what cost
        context, lower = suffixes[above], np.empty(len(union), np.int64)
        penalties = [source.backoffs[above] for source in sources]
        keys = node_keys(parents[1:], words[1:])
        pending = np.arange(len(union))
        while len(pending):
            nodes, found = find_nodes(keys, context[pending], last[pending])
            lower[pending[found]] = nodes[found]
            pending = pending[~found]
            for source, penalty in zip(sources, penalties, strict=True):
                penalty[pending] += source.backoffs[context[pending]]
            context[pending] = suffixes[context[pending]]
        shares = [source.evidence[above] for source in sources]
        for source, penalty, own in zip(sources, penalties, level_keys, strict=True):
            _grow(source, k, levels[-1], union.searchsorted(own), penalty, lower, above)
        total = np.logaddexp.reduce(shares)
        new = [source.log_probs[levels[-1] :] for source in sources]
        mixed = [share + log_prob for share, log_prob in zip(shares, new, strict=True)]
        log_probs = np.concatenate((log_probs, np.logaddexp.reduce(mixed) - total))
        parents = np.concatenate((parents, above.astype(np.int32)))
        words = np.concatenate((words, last.astype(np.int32)))
        suffixes = np.concatenate((suffixes, lower))
        levels.append(levels[-1] + len(union))
    states = levels[-2]
    frequencies = np.zeros(states)
    for source in sources:
        counted = context_frequencies(source.model)
        frequencies[source.places[: len(counted)]] += source.weight * counted
    return with_backoffs(
        NGrams(
            first.vocabulary, tuple(levels), parents, words, log_probs, np.zeros(states),
            frequencies,
        )
    )


def _start(model: NGrams, weight: float) -> _Source:
    size = len(model.vocabulary)
    log_probs = model.log_probs[: 1 + size].copy()
    backoffs = np.zeros(1 + size)
    known = min(1 + size, model.n_states)
    backoffs[:known] = model.backoffs[:known]
    evidence = math.log(weight) + log_probs
    evidence[1 + BEGIN] = math.log(weight)  # every sentence has a beginning
    return _Source(model, weight, np.arange(1 + size), log_probs, backoffs, evidence)


def _level_keys(source: _Source, k: int) -> Longs:
    """The model's n-grams of order k as keys of the mixture."""
    model = source.model
    level = slice(model.levels[k], model.levels[k + 1])
    return node_keys(source.places[model.parents[level]], model.words[level])[:-1]


def _grow(
    source: _Source, k: int, first: int, at: Longs, penalty: Floats, lower: Longs, above: Longs
) -> None:
    """Add a level that begins with node `first`; `at` are the model's own nodes in it."""
    model = source.model
    level = slice(model.levels[k], model.levels[k + 1])
    log_probs = source.log_probs[lower] + penalty
    log_probs[at] = model.log_probs[level]
    backoffs = np.zeros(len(log_probs))
    if k < model.order:
        backoffs[at] = model.backoffs[level]
    source.places = np.concatenate((source.places, first + at))
    source.evidence = np.concatenate((source.evidence, source.evidence[above] + log_probs))
    source.log_probs = np.concatenate((source.log_probs, log_probs))
    source.backoffs = np.concatenate((source.backoffs, backoffs))
