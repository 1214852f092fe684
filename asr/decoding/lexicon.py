"""Words as a trie over tokens, and the scorer that joins it with a word language model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.errors import ConfigError
from asr.vocabulary import BLANK_ID, Vocabulary

from .lm.language_model import LanguageModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

ROOT, START, UNKNOWN = 0, 1, 2
"""Between words; before the first word; inside a word that the lexicon does not hold."""


class Lexicon:
    """A trie: `child` (nodes, vocab) leads on or is -1, `word` (nodes,) is a word's id or -1.

    `best` (nodes,) is the highest score among the words below a node: what the search may
    count on before it knows which word it is (Ortmanns et al. 1996, language-model look-ahead).
    """

    def __init__(self, words: Sequence[str], scores: NDArray[np.float32], vocabulary: Vocabulary,
                 ids: Sequence[int]) -> None:
        """`scores` (n,) and `ids` (n,) belong to `words`; what cannot be spelled is left out."""
        matrix, which = _spell(words, vocabulary)
        # in sorted order a prefix is new where it differs from the one of the row above
        differs = np.ones(matrix.shape, bool)
        differs[1:] = np.logical_or.accumulate(matrix[1:] != matrix[:-1], axis=1)
        new = differs & (matrix >= 0)
        numbers = np.zeros(matrix.shape, np.int32)
        numbers[new] = np.arange(int(new.sum()), dtype=np.int32) + 3
        nodes = np.maximum.accumulate(numbers, axis=0)
        parents = np.concatenate((np.zeros((len(nodes), 1), np.int32), nodes[:, :-1]), axis=1)
        count = int(new.sum()) + 3
        self.child = np.full((count, len(vocabulary)), -1, np.int32)
        self.child[parents[new], matrix[new]] = nodes[new]
        self.word = np.full(count, -1, np.int32)
        self.best = np.full(count, -np.inf, np.float32)
        self.depth = np.zeros(count, np.int32)
        if len(which):
            self.depth[nodes[new]] = np.nonzero(new)[1] + 1
            lengths = (matrix >= 0).sum(1)
            ends = nodes[np.arange(len(which)), lengths - 1]
            self.word[ends] = np.asarray(ids, np.int32)[which]
            for column in range(matrix.shape[1]):
                inside = matrix[:, column] >= 0
                np.maximum.at(self.best, nodes[inside, column], scores[which[inside]])
        self.child[START] = self.child[ROOT]
        self.best[:3] = 0.0


def _spell(words: Sequence[str], vocabulary: Vocabulary) -> tuple[Ints, NDArray[np.intp]]:
    """Token ids (n, longest) of the words that can be spelled, in sorted order, and their places.

    Shorter words are padded with -1. Letters take an array's way: tens of thousands of words
    are spelled at every start.
    """
    if all(len(token) == 1 for token in vocabulary.tokens[1:]):
        letters = np.array([word.encode("ascii", "replace") for word in words] or [b""])
        codes = letters.view(np.uint8).reshape(len(letters), -1)
        ids = np.zeros(256, np.int32)
        for i, token in enumerate(vocabulary.tokens):
            if token.isascii() and i != BLANK_ID:
                ids[ord(token)] = i
        matrix = np.where(codes > 0, ids[codes], -1).astype(np.int32)
        known = np.flatnonzero((matrix != BLANK_ID).all(1) & (codes[:, 0] > 0))
        order = known[np.argsort(letters[known], kind="stable")]
        return matrix[order], order
    spelled = []
    for i, word in enumerate(words):
        try:
            tokens = vocabulary.encode(word)
        except ValueError:
            continue
        # where no piece begins the word, a boundary stands before it: it is between words
        spelled.append((list(itertools.dropwhile(vocabulary.is_boundary, tokens)), i))
    spelled.sort()
    matrix = np.full((len(spelled), max((len(t) for t, _ in spelled), default=0)), -1, np.int32)
    for row, (tokens, _) in enumerate(spelled):
        matrix[row, : len(tokens)] = tokens
    return matrix, np.array([i for _, i in spelled], np.intp)


@dataclass(frozen=True)
class WordConfig:
    """How much words count against sounds; tuned for a bundle."""

    lm_weight: float = 0.6
    """Factor on the language model's log-probabilities."""
    word_bonus: float = 0.8
    """Added for each word: a language model alone prefers few."""
    unknown_penalty: float = 3.0
    """Taken off for a word outside the lexicon, beside what the language model takes."""
    spelling_penalty: float = 0.7
    """Taken off for each token of such a word."""

    def __post_init__(self) -> None:
        if self.lm_weight < 0:
            raise ConfigError(f"lm_weight must not be negative, got {self.lm_weight}")


class WordScorer:
    """Word n-grams over a lexicon, with a spelled-out path for all other words.

    States are (trie node, language-model state). A prefix inside a word is scored with the
    best word that it can become; the exact n-gram takes its place at the word's end.
    """

    def __init__(
        self, model: LanguageModel, vocabulary: Vocabulary, config: WordConfig | None = None
    ) -> None:
        self.model = model
        known = [i for i, word in enumerate(model.words) if i > 2 and word]
        self.lexicon = Lexicon(
            [model.words[i] for i in known],
            model.unigram_log_probs[known],
            vocabulary,
            known,
        )
        self._starts = np.array([vocabulary.starts_word(i) for i in range(len(vocabulary))])
        self._starts[BLANK_ID] = False
        self._boundary = np.array([vocabulary.is_boundary(i) for i in range(len(vocabulary))])
        self._weigh(config or WordConfig())

    def _weigh(self, config: WordConfig) -> None:
        self.config = config
        held = self.lexicon.best.astype(np.float64)
        held[UNKNOWN] = self.model.unigram_log_probs[0]
        self._held = config.lm_weight * held
        """(nodes,) the look-ahead score that prefixes at a node contain."""
        self._leaving = config.spelling_penalty * (self.lexicon.depth + 1.0)
        """(nodes,) what the token that leaves the trie costs: all so far are misspelt."""

    def with_config(self, config: WordConfig) -> WordScorer:
        """The same words and model, weighted otherwise; shares what is large."""
        other = copy(self)
        other._weigh(config)
        return other

    def price_of_unknown(self, text: str, vocabulary: Vocabulary) -> float:
        """What the words of a text that the lexicon does not hold are taken off in all."""
        config = self.config
        return sum(
            config.unknown_penalty + config.spelling_penalty * len(vocabulary.encode(word))
            for word in text.split() if self.model.word_ids.get(word, 0) <= 2
        )

    def start(self) -> Ints:
        """Before the first word of a sentence."""
        return np.array([START, self.model.begin], np.int32)

    def extend(
        self, states: Ints, tokens: Ints, wanted: NDArray[np.bool_]
    ) -> tuple[Floats, Ints]:
        """See `Scorer.extend`."""
        node = states[:, 0]
        new = np.empty((*wanted.shape, 2), np.int32)
        new[:, :, 1] = states[:, 1:]
        # within words: one step down the trie, or off it
        target = self.lexicon.child[node[:, None], tokens]
        scores = np.repeat(-self._held[node][:, None], len(tokens), axis=1)
        closing = np.flatnonzero(self._starts[tokens])
        if len(closing):
            self._close(states, tokens, closing, wanted, scores, new, target)
        off = target < 0
        np.copyto(target, UNKNOWN, where=off)
        scores += self._held[target]
        # the first letter of a word leaves from the root, wherever the last word ended
        leaving = np.where(self._starts[tokens], self._leaving[ROOT], self._leaving[node][:, None])
        np.subtract(scores, leaving, out=scores, where=off)
        new[:, :, 0] = target
        return scores, new

    def _close(
        self, states: Ints, tokens: Ints, columns: NDArray[np.intp], wanted: NDArray[np.bool_],
        scores: Floats, new: Ints, target: Ints,
    ) -> None:
        """End the word before tokens that start another one; fills the cells of `columns`."""
        node = states[:, 0]
        between = node <= START
        added, after = np.zeros(len(node)), states[:, 1].copy()
        rows = np.flatnonzero(wanted[:, columns].any(1) & ~between)
        if len(rows):
            added[rows], after[rows] = self._word_end(states[rows])
        boundary = self._boundary[tokens[columns]]
        # a second boundary in a row would only be another spelling of the same text
        again = (node == ROOT)[:, None] & boundary
        scores[:, columns] = np.where(again, -np.inf, added[:, None])
        new[:, columns, 1] = after[:, None]
        target[:, columns] = np.where(boundary, ROOT, self.lexicon.child[ROOT, tokens[columns]])

    def _word_end(self, states: Ints) -> tuple[Floats, Ints]:
        """What ending the current word adds, and the language model's states behind it."""
        node, context = states[:, 0], states[:, 1]
        word = self.lexicon.word[node]
        unknown = word < 0
        log_probs, after = self.model.score(context, np.where(unknown, 0, word))
        config = self.config
        added = config.lm_weight * log_probs.astype(np.float64) - self._held[node]
        added += config.word_bonus
        # a lexicon prefix that ends early is an unknown word too
        misspelt = config.unknown_penalty + config.spelling_penalty * self.lexicon.depth[node]
        np.subtract(added, misspelt, out=added, where=unknown)
        return added, after

    def finish(self, states: Ints) -> Floats:
        """See `Scorer.finish`: the last word ends, and so does the sentence."""
        node, context = states[:, 0], states[:, 1]
        between = node <= START
        added, after = self._word_end(states)
        state = np.where(between, context, after).astype(np.int32)
        end = self.config.lm_weight * self.model.end(state)
        total: Floats = np.where(between, 0.0, added) + end
        return total
