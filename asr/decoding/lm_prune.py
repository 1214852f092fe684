"""Make n-gram models smaller, and one of several: entropy pruning and interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .ngrams import (
    BEGIN,
    END,
    MAX_WORDS,
    TINY,
    WORD_BITS,
    Floats,
    Longs,
    NGrams,
    back_off,
    node_keys,
    with_backoffs,
)


def keep_nodes(model: NGrams, keep: NDArray[np.bool_]) -> NGrams:
    """The model of the marked nodes (nodes,) and their contexts; unigrams always stay.

    The mass of the dropped n-grams goes to the shorter contexts.
    """
    keep = keep.copy()
    keep[: model.levels[2]] = True
    for k in range(model.order, 2, -1):
        level = slice(model.levels[k], model.levels[k + 1])
        keep[model.parents[level][keep[level]]] = True
    new = np.cumsum(keep) - 1
    frequencies = model.frequencies
    states = keep[: model.n_states]
    smaller = replace(
        model,
        levels=tuple(int(np.count_nonzero(keep[:level])) for level in model.levels),
        parents=new[model.parents[keep]].astype(np.int32),
        words=model.words[keep],
        log_probs=model.log_probs[keep],
        frequencies=None if frequencies is None else frequencies[states],
    )
    return with_backoffs(smaller)


def losses(model: NGrams) -> Floats:
    """(nodes,) relative entropy in nats a word between the model with and without each n-gram.

    Stolcke, "Entropy-based pruning of backoff language models" (1998), but with the counted
    frequencies of the contexts where the model has them: the chain rule over Kneser-Ney's
    lower orders misjudges them (Chelba et al. 2010). An n-gram that others need as their
    context loses as much as the dearest of them; unigrams are priceless.
    """
    loss = np.full(model.levels[-1], np.inf)
    frequencies = context_frequencies(model)
    for k in range(2, model.order + 1):
        level = slice(model.levels[k], model.levels[k + 1])
        contexts = slice(model.levels[k - 1], model.levels[k])
        parents, log_probs = model.parents[level], model.log_probs[level]
        nodes, penalties, _ = back_off(
            model.keys, model.suffixes, model.backoffs, model.order,
            model.suffixes[parents], model.words[level],
        )
        lower_log_probs = model.log_probs[nodes] + penalties
        probs, lower = np.exp(log_probs), np.exp(lower_log_probs)
        size, local = contexts.stop - contexts.start, parents - contexts.start
        free = np.maximum(1 - np.bincount(local, probs, size), TINY)[local]
        lower_free = np.maximum(1 - np.bincount(local, lower, size), TINY)[local]
        backoff = np.log((free + probs) / (lower_free + lower))
        change = probs * (lower_log_probs + backoff - log_probs)
        change += free * (backoff - np.log(free / lower_free))
        loss[level] = -frequencies[parents] * change
    for k in range(model.order, 2, -1):
        level = slice(model.levels[k], model.levels[k + 1])
        np.maximum.at(loss, model.parents[level], loss[level])
    return loss


def context_frequencies(model: NGrams) -> Floats:
    """(states,) how often each context occurs a word: as counted, or by the chain rule."""
    if model.frequencies is not None:
        return model.frequencies
    logs = model.log_probs[: model.n_states].copy()
    # <s> is never predicted, but stands before as many words as sentences end
    if model.order > 1:
        logs[1 + BEGIN] = logs[1 + END]
    for k in range(2, model.order):
        level = slice(model.levels[k], model.levels[k + 1])
        logs[level] += logs[model.parents[level]]
    return np.exp(logs)


def prune_below(model: NGrams, threshold: float) -> NGrams:
    """The model without the n-grams whose loss (nats a word) is below the threshold."""
    return keep_nodes(model, losses(model) >= threshold)


def prune_to_bytes(model: NGrams, loss: Floats, budget: int) -> NGrams:
    """The dearest n-grams by their `losses` whose tables in the file take at most `budget`."""
    first, top = model.levels[2], model.levels[-2]
    wide = 2 if len(model.vocabulary) <= 1 << 16 else 4
    # stable: a context comes before its n-grams where they lose the same
    ranked = first + np.argsort(-loss[first:], kind="stable")
    costs = np.where(ranked >= top, wide + 1, wide + 2)  # word and probability; children
    parents = model.parents[ranked]
    costs[np.unique(parents, return_index=True)[1]] += 1  # the context's back-off
    n = int(np.searchsorted(np.cumsum(costs), budget, "right"))
    keep = np.zeros(model.levels[-1], bool)
    keep[ranked[:n]] = True
    return keep_nodes(model, keep)


def interpolate(models: Sequence[NGrams], weights: Sequence[float]) -> NGrams:
    """One model of the n-grams of all, each with the weighted mean of its probabilities.

    The models must share one vocabulary and order; the weights sum to 1. As SRILM's static
    interpolation (ngram -mix-lm): only the back-offs are an approximation.
    """
    size, order = len(models[0].vocabulary), models[0].order
    levels = [0, 1, 1 + size]
    parents = [np.zeros(1 + size, np.int32)]
    words = [np.arange(-1, size, dtype=np.int32)]
    probs = [sum_of([np.exp(m.log_probs[: 1 + size]) for m in models], weights)]
    probs[0][0] = 1.0
    # of each model: the new node of each of its nodes, and the state of each new node
    places: list[Longs] = [np.arange(1 + size) for _ in models]
    states: list[Longs] = [np.arange(1 + size) for _ in models]
    for k in range(2, order + 1):
        keys = []
        for model, place in zip(models, places, strict=True):
            level = slice(model.levels[k], model.levels[k + 1])
            above = place[model.parents[level] - model.levels[k - 1] * (k > 2)]
            keys.append(node_keys(above, model.words[level])[:-1])
        union = np.unique(np.concatenate(keys))
        places = [levels[-1] + union.searchsorted(key) for key in keys]
        parent, word = union >> WORD_BITS, union & (MAX_WORDS - 1)
        above = parent - levels[-2] * (k > 2)
        scored = [m.score(s[above], word) for m, s in zip(models, states, strict=True)]
        probs.append(sum_of([np.exp(log_probs) for log_probs, _ in scored], weights))
        states = [after for _, after in scored]
        parents.append(parent.astype(np.int32))
        words.append(word.astype(np.int32))
        levels.append(levels[-1] + len(union))
    mixed = NGrams(
        models[0].vocabulary, tuple(levels), np.concatenate(parents), np.concatenate(words),
        np.log(np.maximum(np.concatenate(probs), np.finfo(float).tiny)), np.zeros(levels[-2]),
    )
    return with_backoffs(replace(mixed, frequencies=_mixed_frequencies(mixed, models, weights)))


def sum_of(rows: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """The weighted sum of arrays of one shape."""
    return np.tensordot(np.array(weights), np.stack(rows), 1)


def _mixed_frequencies(
    mixed: NGrams, models: Sequence[NGrams], weights: Sequence[float]
) -> Floats:
    """(states,) the weighted mean of the models' context frequencies."""
    total = np.zeros(mixed.n_states)
    for model, weight in zip(models, weights, strict=True):
        frequencies = context_frequencies(model)
        place = np.arange(model.levels[min(2, len(model.levels) - 2)])
        total[place] += weight * frequencies[place]
        for k in range(2, model.order):
            level = slice(model.levels[k], model.levels[k + 1])
            above = place[model.parents[level]]
            keys = (above << WORD_BITS) + model.words[level]
            nodes = 1 + mixed.keys.searchsorted(keys)
            place = np.concatenate((place, nodes))
            total[nodes] += weight * frequencies[level]
    return total
