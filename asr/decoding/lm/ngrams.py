"""A back-off n-gram model in full precision: what is read, estimated, mixed and pruned.

The n-grams form a trie that is stored breadth first. Node 0 is the root (no words), nodes
1 to V are the unigrams in the order of the word ids, and the n-grams of each further order
follow, sorted by the node of their first n - 1 words (the parent) and then by their last
word. Parent and last word thus make one integer key, and the keys ascend over the whole
trie: a single binary search finds an n-gram of any order. A node below the highest order is
also a state, the context of the next word; its suffix is the node of the longest ending
that is an n-gram too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int32]
Longs: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

UNKNOWN, BEGIN, END = 0, 1, 2
SPECIAL = ("<unk>", "<s>", "</s>")
"""The words with the ids 0, 1 and 2 of every model."""

WORD_BITS = 21
MAX_WORDS = 1 << WORD_BITS
NEVER = -99 * math.log(10)
"""Log-probability of what is never predicted, `<s>` above all: ARPA's -99."""

TINY = 1e-12
"""Least mass left to the words that a context has not seen."""


@dataclass(frozen=True)
class NGrams:
    """A model; logarithms are natural."""

    vocabulary: tuple[str, ...]
    levels: tuple[int, ...]
    """First node of each order from 0 (the root) on, and the number of nodes."""
    parents: Ints
    """(nodes,), 0 for the root."""
    words: Ints
    """(nodes,) last word of each n-gram, -1 for the root."""
    log_probs: Floats
    """(nodes,) of the last word behind the others, 0 for the root."""
    backoffs: Floats
    """(states,) logarithm of the weight of the shorter context."""
    frequencies: Floats | None = None
    """(states,) how often each context occurs a word of text, where it was counted."""

    @property
    def order(self) -> int:
        """Words in the longest n-grams."""
        return len(self.levels) - 2

    @property
    def n_states(self) -> int:
        """Nodes below the highest order."""
        return self.levels[-2]

    @cached_property
    def keys(self) -> Longs:
        """(nodes,) what `find_nodes` searches."""
        return node_keys(self.parents[1:], self.words[1:])

    @cached_property
    def suffixes(self) -> Ints:
        """(states,) the node of the longest shorter context."""
        return link_suffixes(self.keys, self.parents, self.words, self.levels)

    def score(
        self, states: NDArray[np.integer], words: NDArray[np.integer]
    ) -> tuple[Floats, Longs]:
        """Log-probabilities (n,) of words behind states and the states (n,) after them."""
        nodes, penalties, after = back_off(
            self.keys, self.suffixes, self.backoffs, self.order, states, words
        )
        return self.log_probs[nodes] + penalties, after


def node_keys(parents: NDArray[np.integer], words: NDArray[np.integer]) -> Longs:
    """Search keys of all nodes but the root, and one above them all, int64."""
    keys = np.empty(len(parents) + 1, np.int64)
    np.left_shift(parents, WORD_BITS, out=keys[:-1], dtype=np.int64)
    keys[:-1] += words
    keys[-1] = np.iinfo(np.int64).max
    return keys


def find_nodes(
    keys: Longs, states: NDArray[np.integer], words: NDArray[np.integer]
) -> tuple[Longs, NDArray[np.bool_]]:
    """Nodes of the words behind the states, and whether they exist; any shape."""
    wanted = (states.astype(np.int64) << WORD_BITS) + words
    at = keys.searchsorted(wanted)
    return at + 1, keys[at] == wanted


def link_suffixes(keys: Longs, parents: Ints, words: Ints, levels: Sequence[int]) -> Ints:
    """(states,) for each state the longest ending of its words that is a node too."""
    suffixes = np.zeros(levels[-2], np.int32)
    if len(levels) > 4:
        suffixes[levels[2] : levels[3]] = 1 + words[levels[2] : levels[3]]
    for first, last in pairwise(levels[3:-1]):
        context, word = suffixes[parents[first:last]], words[first:last]
        pending = np.arange(last - first)
        while len(pending):
            nodes, found = find_nodes(keys, context[pending], word[pending])
            suffixes[first + pending[found]] = nodes[found]
            pending = pending[~found]  # the root knows every word: this ends
            context[pending] = suffixes[context[pending]]
    return suffixes


def back_off(
    keys: Longs,
    suffixes: Ints,
    backoffs: NDArray[np.floating],
    order: int,
    states: NDArray[np.integer],
    words: NDArray[np.integer],
) -> tuple[Longs, NDArray[np.floating], Longs]:
    """Look up n words behind n states with Katz's rule.

    Gives the nodes (n,) that hold the probabilities, the sums (n,) of the back-offs on the
    way there, and the longest states (n,) that the words lead to.
    """
    chain = np.empty((order, len(states)), np.int64)  # one context a row, ever shorter
    chain[0] = states
    for i in range(1, order):
        chain[i] = suffixes[chain[i - 1]]
    wanted = (chain << WORD_BITS) + words
    at = keys.searchsorted(wanted)
    found = keys[at] == wanted
    at += 1
    columns = np.arange(len(states))
    first = found.argmax(0)
    missed = backoffs[chain]
    missed *= np.arange(order)[:, None] < first
    after = np.zeros(len(states), np.int64)
    if order > 1:  # the last row, the root, always leads to a unigram
        found &= at < len(suffixes)
        after = at[found.argmax(0), columns]
    return at[first, columns], missed.sum(0), after


def with_backoffs(model: NGrams) -> NGrams:
    """The model with the back-offs that make every context's probabilities sum to 1."""
    backoffs = np.zeros(model.n_states)
    for k in range(1, model.order):
        children = slice(model.levels[k + 1], model.levels[k + 2])
        parents, words = model.parents[children], model.words[children]
        nodes, penalties, _ = back_off(
            model.keys, model.suffixes, backoffs, model.order, model.suffixes[parents], words
        )
        states = slice(model.levels[k], model.levels[k + 1])
        first, size = states.start, states.stop - states.start
        seen = np.bincount(parents - first, np.exp(model.log_probs[children]), size)
        lower = np.bincount(parents - first, np.exp(model.log_probs[nodes] + penalties), size)
        backoffs[states] = np.log(np.maximum(1 - seen, TINY) / np.maximum(1 - lower, TINY))
    return replace(model, backoffs=backoffs)


def build_trie(
    vocabulary: tuple[str, ...], rows: Sequence[Ints]
) -> tuple[NGrams, list[NDArray[np.int64]]]:
    """The trie of n-grams given as word ids, `rows[k]` shaped (n, k + 2), with empty values.

    Adds the contexts that are missing; log-probabilities are NaN, back-offs 0. Also gives
    the node of each row. Unigrams are not given: all words are.
    """
    size = len(vocabulary)
    parents, words = [np.zeros(1 + size, np.int32)], [np.arange(-1, size, dtype=np.int32)]
    levels = [0, 1, 1 + size]
    nodes = [1 + row[:, 0].astype(np.int64) for row in rows]
    for k in range(len(rows)):
        wanted = [(nodes[j] << WORD_BITS) + rows[j][:, k + 1] for j in range(k, len(rows))]
        level = np.unique(np.concatenate(wanted))
        for j, keys in zip(range(k, len(rows)), wanted, strict=True):
            nodes[j] = levels[-1] + level.searchsorted(keys)
        parents.append((level >> WORD_BITS).astype(np.int32))
        words.append((level & (MAX_WORDS - 1)).astype(np.int32))
        levels.append(levels[-1] + len(level))
    log_probs = np.full(levels[-1], np.nan)
    log_probs[0] = 0.0
    backoffs = np.zeros(levels[-2])
    trie = NGrams(
        vocabulary, tuple(levels), np.concatenate(parents), np.concatenate(words), log_probs,
        backoffs,
    )
    return trie, nodes
