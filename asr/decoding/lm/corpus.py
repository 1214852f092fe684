"""Texts as word ids, to estimate language models from and to test them on."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from asr.text import read_sentences

from .ngrams import BEGIN, END, MAX_WORDS, SPECIAL, UNKNOWN

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Corpus:
    """Sentences of word ids in one row."""

    vocabulary: tuple[str, ...]
    tokens: Ints
    """(n,) each sentence between the ids of `<s>` and `</s>`."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """(words,) how often each word occurs; the sentence marks count as words."""
        return np.bincount(self.tokens, minlength=len(self.vocabulary))

    @property
    def n_sentences(self) -> int:
        """Number of sentences."""
        return int(np.count_nonzero(self.tokens == BEGIN))


def read_corpora(
    groups: Sequence[Sequence[Path]], on_file: Callable[[], object] = lambda: None
) -> list[Corpus]:
    """One corpus for each group of texts or manifests, with one vocabulary for all.

    Raises TextError, ManifestError, or LanguageModelError for a group without sentences.
    """
    ids = {word: i for i, word in enumerate(SPECIAL)}
    rows = []
    for paths in groups:
        tokens = array("i")
        for path in paths:
            for sentence in read_sentences(path):
                tokens.append(BEGIN)
                tokens.extend([ids.setdefault(word, len(ids)) for word in sentence.split()])
                tokens.append(END)
            on_file()
        if not tokens:
            raise LanguageModelError(paths[0], "no sentences")
        rows.append(np.array(tokens, np.int32))
    vocabulary = tuple(ids)
    return [Corpus(vocabulary, tokens) for tokens in rows]


def corpus_of(sentences: Iterable[str]) -> Corpus:
    """The corpus of normalised sentences."""
    ids = {word: i for i, word in enumerate(SPECIAL)}
    tokens: list[int] = []
    for sentence in sentences:
        words = [ids.setdefault(word, len(ids)) for word in sentence.split()]
        tokens += [BEGIN, *words, END]
    return Corpus(tuple(ids), np.array(tokens, np.int32))


def choose_vocabulary(
    corpora: Sequence[Corpus], weights: Sequence[float], *, max_words: int | None, min_count: int
) -> tuple[str, ...]:
    """The most frequent words (at most `max_words` with the special ones), most frequent first.

    Frequencies are weighted over the corpora; a word must occur `min_count` times in all.
    """
    counts = [corpus.counts for corpus in corpora]
    frequencies = sum(w * c / c.sum() for w, c in zip(weights, counts, strict=True))
    enough = np.flatnonzero(np.sum(counts, axis=0) >= min_count)
    words = corpora[0].vocabulary
    ranked = sorted(enough[enough >= len(SPECIAL)], key=lambda i: (-frequencies[i], words[i]))
    limit = MAX_WORDS if max_words is None else min(max_words, MAX_WORDS)
    return SPECIAL + tuple(words[i] for i in ranked[: max(limit - len(SPECIAL), 0)])


def restrict(corpus: Corpus, vocabulary: tuple[str, ...]) -> Corpus:
    """The same sentences with the ids of `vocabulary`; other words become unknown."""
    ids = {word: i for i, word in enumerate(vocabulary)}
    new = np.array([ids.get(word, UNKNOWN) for word in corpus.vocabulary], np.int32)
    return Corpus(vocabulary, new[corpus.tokens])
