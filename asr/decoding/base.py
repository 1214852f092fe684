"""What every decoder offers, whatever its search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor

from asr.vocabulary import BLANK_ID, Vocabulary

if TYPE_CHECKING:
    from .confidence import ConfidenceConfig
    from .grammar import Interpretation


@dataclass(frozen=True)
class Hypothesis:
    """The best reading of an utterance so far."""

    tokens: tuple[int, ...] = ()
    frames: tuple[int, ...] = ()
    """Output frame at which each token was emitted, counted from the utterance's start."""
    log_probs: tuple[float, ...] = ()
    """Log-probability of each token at its frame."""
    score: float = 0.0
    """Log-score of the whole; comparable only within one decoder."""
    length: int = 0
    """Output frames heard in this utterance."""
    trailing_blanks: int = 0
    """Output frames since the last token."""
    stable: int = 0
    """Tokens at the start that no later audio can change."""
    pieces: bool = False
    """Whether the tokens are the model's word pieces, not its letters."""
    understood: bool | None = None
    """Whether it is a sentence of the grammar in force; None where there is none."""
    distance: float | None = None
    """How unlike the grammar's nearest sentence it is; infinite where there is none."""
    interpretation: Interpretation | None = None
    """What such a sentence asks for, once it has ended."""
    wake: int = 0
    """Words at its start that are a wake phrase of the grammar."""
    accepting: bool = False
    """Whether a sentence of the grammar is complete: a daemon may answer sooner."""
    continues: bool = True
    """Whether a longer sentence of the grammar begins like this."""


@dataclass(frozen=True)
class Word:
    """A word with its times in seconds and its confidence in [0, 1]."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class TimeShift:
    """Seconds to add to the times of words."""

    start: float = 0.0
    end: float = 0.0


@dataclass(frozen=True)
class TimingConfig:
    """How far word times are off, by the output that they were read in; see `asrd tune`.

    Letters and word pieces of the same word are not written at the same moment.
    """

    letters: TimeShift = TimeShift()
    pieces: TimeShift = TimeShift()

    def of(self, pieces: bool) -> TimeShift:
        """That of one output."""
        return self.pieces if pieces else self.letters


class LastTokens(NamedTuple):
    """What the best paths end in at a forced cut: emitted already where the sound goes on."""

    letter: int = BLANK_ID
    piece: int = BLANK_ID

    def of(self, pieces: bool) -> int:
        """That of one output."""
        return self.piece if pieces else self.letter

    @classmethod
    def only(cls, token: int, pieces: bool) -> LastTokens:
        """Those of a search that reads one output alone."""
        return cls(piece=token) if pieces else cls(letter=token)


NOTHING = LastTokens()
"""Before the first sound, or after a pause."""


class DecoderStream(Protocol):
    """The search state of one utterance."""

    @property
    def last_tokens(self) -> LastTokens:
        """What the best path ends in, to hand over at a forced cut."""
        ...

    def advance(self, letters: Tensor, pieces: Tensor | None = None) -> None:
        """Take the next log-probs of the model's outputs, shaped (frames, vocab) each.

        Those of the word pieces are there if the decoder asks for them.
        """
        ...

    def hypothesis(self, final: bool = False) -> Hypothesis:
        """The best hypothesis so far, or as if the utterance ended here. Pure; at any time."""
        ...

    def n_best(self, count: int, final: bool = False) -> list[Hypothesis]:
        """Up to `count` readings that the search kept, the best first. Pure; at any time."""
        ...


class Decoder(Protocol):
    """Shared, immutable search settings; makes one stream an utterance."""

    @property
    def confidence(self) -> ConfidenceConfig | None:
        """How words are given confidences; None: the network's probabilities are shown."""
        ...

    @property
    def pieces(self) -> bool:
        """Whether it reads the model's word pieces, be it beside its letters."""
        ...

    def new_stream(self, last: LastTokens = NOTHING) -> DecoderStream:
        """A search that starts fresh, or behind tokens that an earlier cut has emitted."""
        ...


def output_read(letters: Tensor, pieces: Tensor | None, wants_pieces: bool) -> Tensor:
    """The output that a search of a single one reads."""
    if not wants_pieces:
        return letters
    if pieces is None:
        raise ValueError("this search reads word pieces, and none were given")
    return pieces


def words_of(
    hypothesis: Hypothesis, vocabulary: Vocabulary, frame_seconds: float, offset: float = 0.0,
    shift: TimeShift = TimeShift(),
) -> tuple[Word, ...]:
    """The words of a hypothesis with times (`offset` added) and confidences.

    A word lasts from the frame of its first token to the end of the frame of its last, both
    moved by `shift`. Its confidence is the geometric mean of its tokens' probabilities.
    """
    words: list[Word] = []
    current: list[int] = []  # positions of the word's tokens in the hypothesis

    def close() -> None:
        text = vocabulary.decode([hypothesis.tokens[i] for i in current])
        if text:
            mean = sum(hypothesis.log_probs[i] for i in current) / len(current)
            start = hypothesis.frames[current[0]] * frame_seconds
            end = (hypothesis.frames[current[-1]] + 1) * frame_seconds
            words.append(Word(text, offset + start, offset + end, min(1.0, math.exp(mean))))
        current.clear()

    for i, token in enumerate(hypothesis.tokens):
        if vocabulary.starts_word(token):
            close()
        if not vocabulary.is_boundary(token):
            current.append(i)
    if current:
        close()
    if words and shift != TimeShift():
        heard = offset + max(hypothesis.length, hypothesis.frames[-1] + 1) * frame_seconds
        return _corrected(words, shift, frame_seconds, offset, heard)
    return tuple(words)


def _corrected(
    words: Sequence[Word], shift: TimeShift, shortest: float, floor: float, ceiling: float
) -> tuple[Word, ...]:
    """Words with their times moved, but in order, apart and between `floor` and `ceiling`."""
    found: list[Word] = []
    before = floor
    for i, word in enumerate(words):
        start = min(max(before, word.start + shift.start), word.end - shortest)
        following = words[i + 1].start + min(0.0, shift.start) if i + 1 < len(words) else ceiling
        before = max(start + shortest, min(word.end + shift.end, following))
        found.append(replace(word, start=start, end=before))
    return tuple(found)


def stable_words(hypothesis: Hypothesis, vocabulary: Vocabulary) -> int:
    """Words at the start of a hypothesis that no later audio can change."""
    count, inside = 0, False
    for token in hypothesis.tokens[: hypothesis.stable]:
        if vocabulary.starts_word(token):
            count += inside
            inside = False
        inside |= not vocabulary.is_boundary(token)
    return count


def text_of(words: Sequence[Word]) -> str:
    """The words as one line of text."""
    return " ".join(word.text for word in words)
