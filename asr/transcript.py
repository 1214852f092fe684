"""What a stream understood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .decoding.base import Word, text_of

if TYPE_CHECKING:
    from .decoding.grammar import Interpretation


@dataclass(frozen=True)
class Transcript:
    """What was understood in one utterance; times are seconds from the stream's start."""

    words: tuple[Word, ...]
    start: float
    end: float
    stable: int = 0
    """Words at the start that no later audio can change."""
    understood: bool | None = None
    """Whether it is a sentence of the grammar in force; None where there is none."""
    interpretation: Interpretation | None = None
    """What such a sentence asks for."""
    distance: float | None = None
    """How unlike the grammar's nearest sentence it is."""
    wake: int = 0
    """Words at the start that are a wake phrase."""

    @property
    def text(self) -> str:
        """The words as one line."""
        return text_of(self.words)
