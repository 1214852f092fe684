"""The n-gram language model of the search: compact, shared, asked for many words at once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError

from . import file as model_file
from .file import Tables
from .ngrams import (
    BEGIN,
    END,
    MAX_WORDS,
    WORD_BITS,
    NGrams,
    back_off,
    link_suffixes,
    node_keys,
)

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


class LanguageModel:
    """An immutable back-off model (Katz 1987); logarithms are natural.

    A state is an int32 that stands for the words before. States that cannot be told apart by
    any continuation are one state, so that hypotheses meet early. Probabilities stay in the
    mapped file as one byte each; the search index, about 8 bytes an n-gram, is made here.
    """

    def __init__(self, tables: Tables, path: Path = Path("language model")) -> None:
        """Of tables that fit together; `path` is for messages. Raises LanguageModelError."""
        self.words = model_file.vocabulary_of(tables, path)
        """Word of each id: `<unk>`, `<s>`, `</s>`, then the others."""
        self.word_ids = {word: i for i, word in enumerate(self.words)}
        self.order = len(tables.levels) - 2
        """Words in the longest n-grams."""
        self._tables, arrays = tables, tables.arrays
        states, size = tables.levels[-2], len(self.words)
        counts = tables.child_counts()
        parents = np.zeros(tables.levels[-1], np.int32)
        parents[1 + size :] = np.repeat(np.arange(1, states, dtype=np.int32), counts)
        words = np.arange(-1, len(parents) - 1, dtype=np.int32)
        words[1 + size :] = arrays["last_words"]
        self._keys = node_keys(parents[1:], words[1:])
        if not (self._keys[1:] > self._keys[:-1]).all():
            raise LanguageModelError(path, "damaged: its n-grams are out of order")
        self._codes = arrays["prob_codes"]
        self._books = np.ascontiguousarray(arrays["prob_books"], np.float32)
        self._last_of_level = np.array(tables.levels[2:]) - 1
        self._backoffs = np.zeros(states, np.float32)
        stored = 1 + np.flatnonzero(arrays["children"])
        level = np.searchsorted(self._last_of_level, stored - 1, "right")
        self._backoffs[stored] = arrays["backoff_books"][
            level * model_file.LEVELS + arrays["backoff_codes"]
        ]
        suffixes = link_suffixes(self._keys, parents, words, tables.levels)
        # a state without children and back-off equals its suffix
        same = np.arange(states, dtype=np.int32)
        idle = np.concatenate(([False], (counts == 0) & (self._backoffs[1:] == 0)))
        for first, last in pairwise(tables.levels[1:-1]):
            here = first + np.flatnonzero(idle[first:last])
            same[here] = same[suffixes[here]]
        self._same, self._suffixes = same, same[suffixes]
        self.empty = 0
        """The state that knows no words before: for streams that begin in mid-speech."""
        self.begin = int(same[1 + BEGIN]) if self.order > 1 else 0
        """The state at the start of a sentence."""
        unigrams = self._books[self._codes[:size]]
        unigrams.flags.writeable = False
        self.unigram_log_probs: Floats = unigrams
        """(words,) of each word without context."""

    @classmethod
    def from_ngrams(cls, model: NGrams) -> LanguageModel:
        """The quantised form of a model."""
        return cls(model_file.pack(model))

    @classmethod
    def load(cls, path: Path) -> LanguageModel:
        """Map a file that `save` wrote. Raises LanguageModelError."""
        return cls(model_file.read(path), path)

    def save(self, path: Path) -> None:
        """Write one file; it is complete or absent."""
        model_file.write(self._tables, path)

    def to_ngrams(self) -> NGrams:
        """The model as the other modules take it, to write it in another format."""
        levels = self._tables.levels
        parents, words = np.zeros((2, levels[-1]), np.int32)
        keys = self._keys[:-1]  # the last is a sentinel
        parents[1:], words[1:] = keys >> WORD_BITS, keys & (MAX_WORDS - 1)
        words[0] = -1
        log_probs = np.zeros(levels[-1])
        books = np.searchsorted(self._last_of_level, np.arange(levels[-1] - 1), "right")
        log_probs[1:] = self._books[books * model_file.LEVELS + self._codes]
        return NGrams(
            self.words, levels, parents, words, log_probs, self._backoffs.astype(np.float64)
        )

    @property
    def nbytes(self) -> int:
        """Size of the file that `save` writes."""
        return model_file.file_size(self._tables)

    @property
    def counts(self) -> tuple[int, ...]:
        """N-grams of each order."""
        levels = self._tables.levels
        return tuple(levels[k + 1] - levels[k] for k in range(1, self.order + 1))

    def id_of(self, word: str) -> int:
        """The id of a word; 0 if unknown."""
        return self.word_ids.get(word, 0)

    def score(self, states: Ints, words: Ints) -> tuple[Floats, Ints]:
        """Log-probabilities (n,) of the words (n,) behind the states (n,), and the next states."""
        nodes, penalties, after = back_off(
            self._keys, self._suffixes, self._backoffs, self.order, states, words
        )
        nodes -= 1
        books = np.searchsorted(self._last_of_level, nodes, "right") * model_file.LEVELS
        log_probs: Floats = self._books[books + self._codes[nodes]] + penalties
        return log_probs, self._same[after]

    def end(self, states: Ints) -> Floats:
        """Log-probabilities (n,) that the sentence ends in these states (n,)."""
        return self.score(states, np.full(len(states), END, np.int32))[0]
