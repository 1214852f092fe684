"""Error rates of a recogniser on a list of recordings, streamed like live audio."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from asr.manifest import Recording, spoken_words
from asr.metrics import ErrorCounts, character_errors, correct_words, word_errors
from asr.streaming import Recognizer
from asr.text import normalise

from .events import Event, Final
from .offline import FileSource, SourceResult, transcribe_sources
from .timing import WordTimes, time_words

if TYPE_CHECKING:
    from asr.decoding.grammar import Grammar
    from asr.decoding.grammar.interpretation import Interpretation


@dataclass(frozen=True)
class Scored:
    """One recording with what was understood."""

    recording: Recording
    text: str
    words: ErrorCounts
    confidences: tuple[float, ...]
    """Of the words of `text`."""


@dataclass(frozen=True)
class CommandScores:
    """How recordings fared against a grammar; what was not understood is never right."""

    sentences: int = 0
    """Recordings with a text."""
    sentences_right: int = 0
    """Understood, word for word."""
    labelled: int = 0
    """Recordings with slots."""
    slots_right: int = 0
    """Every slot of the label found with the words as spoken, and no other."""
    rejected: int = 0
    """Recordings in which no command was understood."""

    def __add__(self, other: CommandScores) -> CommandScores:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return CommandScores(*(a + b for a, b in pairs))


def spoken_slots(interpretations: Iterable[Interpretation | None]) -> dict[str, str]:
    """The words of all slots by their names.

    An intent's fixed values are not spoken, so no label has them.
    """
    return {
        slot.name: slot.text
        for interpretation in interpretations
        if interpretation is not None
        for slot in interpretation.slots
        if slot.text
    }


def asks(grammar: Grammar, recording: Recording, text: str) -> bool:
    """Whether a text is what a recording says or, where that is not told, asks for the same."""
    if recording.text is not None:
        return text == normalise(recording.text)
    return spoken_slots([grammar.interpret(text)]) == recording.extra.get("slots")


def score_command(recording: Recording, finals: Sequence[Final]) -> CommandScores:
    """The scores of one recording."""
    understood = [final for final in finals if final.understood]
    text = " ".join(final.text for final in understood)
    label = recording.extra.get("slots")
    spoken = spoken_slots(final.interpretation for final in understood)
    return CommandScores(
        sentences=recording.text is not None,
        sentences_right=bool(text) and text == normalise(recording.text or ""),
        labelled=label is not None,
        slots_right=label is not None and bool(understood) and spoken == label,
        rejected=not understood,
    )


@dataclass(frozen=True)
class Evaluation:
    """Figures of one manifest."""

    utterances: int
    """Recordings that could be read."""
    seconds: float
    """Audio in them."""
    words: ErrorCounts
    characters: ErrorCounts
    commands: CommandScores
    """Meaningless without a grammar."""
    times: WordTimes
    """Of recordings whose `words` tell when each was said."""
    cpu_seconds: float
    """Processor time of the whole process, reading and resampling included."""
    scored: tuple[Scored, ...]
    failures: tuple[SourceResult, ...]

    @property
    def rtf(self) -> float | None:
        """Real-time factor: CPU seconds over audio seconds."""
        return self.cpu_seconds / self.seconds if self.seconds else None

    def judged_words(self) -> tuple[list[float], list[bool]]:
        """The confidence of each word that was written, and whether the word is right."""
        confidences: list[float] = []
        right: list[bool] = []
        for scored in self.scored:
            confidences += scored.confidences
            right += correct_words(normalise(scored.recording.text or ""), scored.text)
        return confidences, right

    def worst(self, count: int) -> list[Scored]:
        """The recordings with most word errors."""
        ranked = sorted(self.scored, key=lambda s: s.words.errors, reverse=True)
        return [s for s in ranked[:count] if s.words.errors]


def evaluate(
    recognizer: Recognizer,
    recordings: Sequence[Recording],
    *,
    streams: int = 1,
    on_result: Callable[[SourceResult], None] | None = None,
) -> Evaluation:
    """Transcribe all recordings, `streams` at a time, and compare with their texts.

    Case and punctuation of the texts do not count. Recordings without text are transcribed but
    not scored; unreadable ones are returned as failures.
    """
    words, characters = ErrorCounts(), ErrorCounts()
    commands = CommandScores()
    scored: list[Scored] = []
    failures: list[SourceResult] = []
    seconds = 0.0
    began = time.process_time()
    sources = [FileSource(recording.audio) for recording in recordings]
    told: dict[str, list[tuple[Event, float]]] = {}
    times = WordTimes()

    def hear(event: Event, audio_seconds: float) -> None:
        told.setdefault(event.stream, []).append((event, audio_seconds))

    timed = any(spoken_words(recording) for recording in recordings)
    results = transcribe_sources(
        recognizer, sources, streams=streams, on_heard=hear if timed else None
    )
    for recording, result in zip(recordings, results, strict=True):
        if on_result is not None:
            on_result(result)
        if result.error is not None:
            failures.append(result)
            continue
        seconds += result.seconds
        commands += score_command(recording, result.finals)
        times += time_words(spoken_words(recording), told.pop(result.name, []))
        if recording.text is not None:
            reference = normalise(recording.text)
            errors = word_errors(reference, result.text)
            words += errors
            characters += character_errors(reference, result.text)
            confidences = tuple(w.confidence for final in result.finals for w in final.words)
            scored.append(Scored(recording, result.text, errors, confidences))
    return Evaluation(
        utterances=len(recordings) - len(failures),
        seconds=seconds,
        words=words,
        characters=characters,
        commands=commands,
        times=times,
        cpu_seconds=time.process_time() - began,
        scored=tuple(scored),
        failures=tuple(failures),
    )
