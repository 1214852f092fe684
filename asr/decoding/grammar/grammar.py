"""A compiled command grammar: which tokens may follow, and what a sentence means."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import ConfigError, GrammarError
from asr.vocabulary import WORD_START, Vocabulary

from .automaton import ALPHABET, BOUNDARY, DEAD, compile_automaton
from .document import Document
from .expressions import Counter, WordFinder, sample
from .interpretation import Interpretation
from .reading import read_document, read_sources
from .resolution import Resolved, resolve
from .spelling import spell
from .templates import Interpreter

FIRST_ROWS = 256
SAMPLE_ATTEMPTS = 20
"""Draws for each sample asked for; most grammars repeat themselves rarely."""


class Grammar:
    """One or more grammars, compiled for a vocabulary.

    Nothing that can be seen from outside changes; the caches inside grow. Who shares it among
    threads sets `growing` to a lock first.
    """

    growing: AbstractContextManager[object] = nullcontext()
    """Entered by who makes the caches grow."""

    def __init__(
        self, resolved: Sequence[Resolved], vocabulary: Vocabulary, context: Mapping[str, Any]
    ) -> None:
        self._resolved = tuple(resolved)
        self._vocabulary = vocabulary
        self._context = dict(context)
        self._sentences = [s for grammar in resolved for s in grammar.sentences]
        if not self._sentences:
            path = resolved[0].document.name if resolved else "grammar"
            raise GrammarError(path, None, "no sentence can be said")
        self._interpreters = [Interpreter(r.document, context) for r in self._resolved]
        self._phrases: tuple[str, ...] = ()
        self._prepare(bare=True)

    def _prepare(self, bare: bool) -> None:
        vocabulary = self._vocabulary
        self._automaton = compile_automaton(self._resolved, self._phrases, bare)
        self._spelled = [_characters(token) for token in vocabulary.tokens]
        # with word pieces the first word has its mark too: one state before the automaton's
        self._shift = 0 if WORD_START in vocabulary.tokens else 1
        self._table = np.full((FIRST_ROWS + 1, len(vocabulary)), DEAD, dtype=np.int32)
        self._known = np.zeros(FIRST_ROWS + 1, dtype=np.bool_)
        self._accepting, self._continues = np.zeros((2, FIRST_ROWS + 1), dtype=np.bool_)
        self._known[DEAD] = True  # the last row answers for state -1

    start = 0
    """The state before the first token."""

    def behind(self, phrases: Sequence[str], *, bare: bool = False) -> Grammar:
        """Each of the phrases alone or with a sentence behind it; `bare` sentences too if so.

        A phrase means nothing: the sentence behind it is interpreted as without. Raises
        ConfigError for one that cannot be said.
        """
        other = copy(self)
        spelled = {phrase: spell(phrase) for phrase in phrases}
        if unsayable := [phrase for phrase, words in spelled.items() if not words]:
            raise ConfigError(f"nothing of the wake phrase {unsayable[0]!r} can be said")
        other._phrases = tuple(sorted(spelled.values(), key=len, reverse=True))
        other._prepare(bare)
        return other

    def wake_words(self, text: str) -> int:
        """How many words at the start of a sentence are one of the phrases before it."""
        found = (p for p in self._phrases if f"{text} ".startswith(f"{p} "))
        return len(next(found, "").split())

    @property
    def names(self) -> tuple[str, ...]:
        """Of the grammars in it."""
        return tuple(r.document.name for r in self._resolved)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out of the grammars, and why; each with file and line."""
        return tuple(w for r in self._resolved for w in r.warnings)

    @property
    def states_known(self) -> int:
        """States met so far; each costs about five bytes a token of the vocabulary."""
        return len(self._automaton)

    def successors(self, states: NDArray[np.int32]) -> NDArray[np.int32]:
        """Next states, shaped (n, vocab): -1 where a token is not allowed, as after state -1.

        The blank is never a step: a search stays where it is.
        """
        self._learn(states)
        return self._table[states]

    def accepting(self, states: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether the text so far is a whole sentence, shaped (n,); not so behind a boundary."""
        self._learn(states)
        return np.asarray(self._accepting[states])

    def continues(self, states: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether a longer sentence begins with the text so far, shaped (n,).

        A sentence that may only be followed by skip words ("please") does not continue, nor does
        one whose last word begins a longer one ("timer", "timers"): who stops there said it.
        """
        self._learn(states)
        return np.asarray(self._continues[states])

    def state_after(self, tokens: Iterable[int], state: int = start) -> int:
        """The state that token ids lead to from another, -1 if they are not allowed."""
        for token in tokens:
            if state != DEAD:
                state = int(self.successors(np.array([state], dtype=np.int32))[0, token])
        return state

    def accepts(self, text: str) -> bool:
        """Whether a text in the recogniser's letters is a sentence of the grammar."""
        try:
            state = self.state_after(self._vocabulary.encode(text))
        except ValueError:
            return False
        return bool(self.accepting(np.array([state], dtype=np.int32))[0])

    def interpret(self, text: str) -> Interpretation | None:
        """Intent and slots of a text as hassil finds them; the first grammar that fits wins."""
        text = " ".join(text.split()[self.wake_words(text) :])
        for interpreter in self._interpreters:
            found = interpreter.interpret(text)
            if found is not None:
                return found
        return None

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word of every sentence; what a wildcard takes is not among them."""
        finder = WordFinder()
        found: set[str] = set()
        for sentence in self._sentences:
            try:
                found |= finder.forms(sentence.expression).words
            except ValueError as error:
                raise GrammarError(self.names[0], None, str(error)) from error
        for grammar in self._resolved:
            if grammar.skip_words:
                found |= finder.forms(grammar.skip_words).words
        return frozenset(found)

    @cached_property
    def sentences(self) -> int | None:
        """Expansions of all templates, without skip words; None if wildcards make them endless.

        One sentence that two templates hold counts twice.
        """
        counter = Counter()
        total = 0
        for sentence in self._sentences:
            ways = counter.count(sentence.expression)
            if ways is None:
                return None
            total += ways
        return total

    def samples(self, n: int, seed: int = 0) -> list[str]:
        """At most `n` distinct sentences, templates drawn evenly."""
        rng = random.Random(seed)  # not for secrets: reproducible
        found: dict[str, None] = {}
        for _ in range(n * SAMPLE_ATTEMPTS):
            if len(found) == n:
                break
            text = " ".join(sample(rng.choice(self._sentences).expression, rng).split())
            if text:
                found[text] = None
        return list(found)

    def _learn(self, states: NDArray[np.int32]) -> None:
        known = self._known[states]
        if not known.all():
            with self.growing:
                for state in dict.fromkeys(states[~known].tolist()):
                    if not self._known[state]:  # by another thread since
                        self._learn_one(state)

    def _learn_one(self, state: int) -> None:
        """Fill the row of a state; new states among its targets get rows to be filled later."""
        automaton, shift = self._automaton, self._shift
        accepts, continues = False, True
        if state < shift:
            row = [0 if character == BOUNDARY else DEAD for character in ALPHABET]
        else:
            row = automaton.row(state - shift)
            accepts = automaton.accepts(state - shift)
            continues = automaton.continues(state - shift)
        targets = [self._follow(row, spelled) for spelled in self._spelled]
        self._reserve(len(automaton) + shift)
        self._table[state] = [t if t == DEAD else t + shift for t in targets]
        self._accepting[state], self._continues[state] = accepts, continues
        self._known[state] = True

    def _follow(self, row: Sequence[int], characters: Sequence[int]) -> int:
        """The automaton's state behind characters, given the row before the first."""
        state = row[characters[0]] if characters else DEAD
        for character in characters[1:]:
            if state == DEAD:
                break
            state = self._automaton.row(state)[character]
        return state

    def _reserve(self, rows: int) -> None:
        capacity = len(self._table) - 1
        if rows <= capacity:
            return
        larger = max(rows, 2 * capacity) + 1
        table = np.full((larger, self._table.shape[1]), DEAD, dtype=np.int32)
        table[:capacity] = self._table[:-1]
        self._table = table
        for name in ("_known", "_accepting", "_continues"):
            flags = np.zeros(larger, dtype=np.bool_)
            flags[:capacity] = getattr(self, name)[:-1]
            setattr(self, name, flags)
        self._known[DEAD] = True


def _characters(token: str) -> tuple[int, ...]:
    """What the automaton reads for a token; empty if it is in no sentence, as the blank."""
    spelled = token.replace(WORD_START, BOUNDARY)
    if not set(spelled) <= set(ALPHABET):
        return ()
    return tuple(ALPHABET.index(character) for character in spelled)


def compile_grammar(
    documents: Document | Sequence[Document],
    vocabulary: Vocabulary,
    context: Mapping[str, Any] | None = None,
) -> Grammar:
    """Compile what was read; several documents are searched at once.

    `context` is known without being said, as `{"area": "kitchen"}`: sentences that require it
    are left out otherwise. Raises GrammarError.
    """
    if isinstance(documents, Document):
        documents = [documents]
    known = context or {}
    return Grammar([resolve(document, known) for document in documents], vocabulary, known)


def load_grammar(
    paths: Path | str | Sequence[Path | str],
    vocabulary: Vocabulary,
    names: Sequence[Path | str] = (),
    context: Mapping[str, Any] | None = None,
) -> Grammar:
    """Read and compile grammars: each path is one, a folder being merged from its files.

    Lists and rules of the files `names` (names and areas of a home) are added to each. A
    grammar is named after its file. Raises GrammarError.
    """
    if isinstance(paths, Path | str):
        paths = [paths]
    shared = [source for path in names for source in read_sources(Path(path))]
    documents = [
        read_document(Path(path).stem, [*read_sources(Path(path)), *shared]) for path in paths
    ]
    for path, document in zip(paths, documents, strict=True):
        if not document.blocks:
            raise GrammarError(path, None, "no sentence can be said")
    return compile_grammar(documents, vocabulary, context)


def union(grammars: Sequence[Grammar]) -> Grammar:
    """All of them at once: the first that a sentence fits gives its intent.

    They must be compiled for the same vocabulary; raises ValueError otherwise.
    """
    if len({grammar._vocabulary.tokens for grammar in grammars}) != 1:
        raise ValueError("grammars for one vocabulary are needed")
    resolved = [r for grammar in grammars for r in grammar._resolved]
    context = {key: v for grammar in grammars for key, v in grammar._context.items()}
    return Grammar(resolved, grammars[0]._vocabulary, context)
