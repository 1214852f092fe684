"""What a stream tells the world: plain, immutable data, and its one JSON form.

The form is described for readers in docs/events.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asr.decoding.base import Word, text_of

from .formats import meaning_document, word_document

if TYPE_CHECKING:
    from asr.decoding.grammar import Interpretation

VERSION = 1
"""Of the JSON form: raised where a reader of the former one would go wrong."""


@dataclass(frozen=True)
class Partial:
    """What an utterance reads like so far; the next one replaces it as a whole."""

    stream: str
    utterance: int
    """Counts the utterances of the stream that had words, from 0."""
    text: str
    """Empty where a search took back all that it had shown."""
    start: float
    """Seconds from the stream's start to the first word."""
    end: float
    """Seconds from the stream's start to the end of the last word."""
    stable: int = 0
    """Words at the start that will not change any more."""


@dataclass(frozen=True)
class Final:
    """A finished utterance of at least one word; it will not change any more."""

    stream: str
    utterance: int
    words: tuple[Word, ...]
    """With start and end in seconds from the stream's start, confidence in [0, 1]."""
    understood: bool | None = None
    """Whether it is a command of the grammar in force; None where there is none."""
    interpretation: Interpretation | None = None
    """Intent and slots of a command."""
    distance: float | None = None
    """How unlike the nearest command it is, see `CommandStream.distance`; infinite: none is."""
    wake: bool = False
    """Whether it begins with a wake phrase."""

    @property
    def text(self) -> str:
        """The words as one line."""
        return text_of(self.words)

    @property
    def start(self) -> float:
        """Seconds from the stream's start to the first word."""
        return self.words[0].start

    @property
    def end(self) -> float:
        """Seconds from the stream's start to the end of the last word."""
        return self.words[-1].end

    @property
    def confidence(self) -> float:
        """The mean of the words' confidences."""
        return sum(word.confidence for word in self.words) / len(self.words)


Event = Partial | Final


def event_document(event: Event, began: float) -> dict[str, Any]:
    """An event as JSON; `began` is the wall clock (Unix time) at the stream's time 0."""
    words = event.text.split(" ") if event.text else []
    stable = len(words) if isinstance(event, Final) else event.stable
    document: dict[str, Any] = {
        "version": VERSION,
        "type": "final" if isinstance(event, Final) else "partial",
        "stream": event.stream,
        "utterance": event.utterance,
        "time": round(began + event.start, 3),
        "start": round(event.start, 3),
        "end": round(event.end, 3),
        "text": event.text,
        "stable": " ".join(words[:stable]),
    }
    if isinstance(event, Final):
        document["confidence"] = round(event.confidence, 4)
        document["words"] = [word_document(word) for word in event.words]
        document |= meaning_document(event)
    return document
