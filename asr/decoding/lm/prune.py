"""Make n-gram models smaller: entropy pruning to a threshold or to a size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .ngrams import BEGIN, END, TINY, Floats, NGrams, back_off, with_backoffs


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
