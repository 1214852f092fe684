"""Error rates of a recogniser on a list of recordings, streamed like live audio."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from asr.manifest import Recording
from asr.metrics import ErrorCounts, character_errors, word_errors
from asr.streaming import Recognizer

from .offline import FileSource, SourceResult, transcribe_sources


@dataclass(frozen=True)
class Scored:
    """One recording with what was understood."""

    recording: Recording
    text: str
    words: ErrorCounts


@dataclass(frozen=True)
class Evaluation:
    """Figures of one manifest."""

    utterances: int
    """Recordings that could be read."""
    seconds: float
    """Audio in them."""
    words: ErrorCounts
    characters: ErrorCounts
    cpu_seconds: float
    """Processor time of the whole process, reading and resampling included."""
    scored: tuple[Scored, ...]
    failures: tuple[SourceResult, ...]

    @property
    def rtf(self) -> float | None:
        """Real-time factor: CPU seconds over audio seconds."""
        return self.cpu_seconds / self.seconds if self.seconds else None

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

    Recordings without text are transcribed but not scored; unreadable ones are returned as
    failures.
    """
    words, characters = ErrorCounts(), ErrorCounts()
    scored: list[Scored] = []
    failures: list[SourceResult] = []
    seconds = 0.0
    began = time.process_time()
    sources = [FileSource(recording.audio) for recording in recordings]
    results = transcribe_sources(recognizer, sources, streams=streams)
    for recording, result in zip(recordings, results, strict=True):
        if on_result is not None:
            on_result(result)
        if result.error is not None:
            failures.append(result)
            continue
        seconds += result.seconds
        if recording.text is not None:
            errors = word_errors(recording.text, result.text)
            words += errors
            characters += character_errors(recording.text, result.text)
            scored.append(Scored(recording, result.text, errors))
    return Evaluation(
        utterances=len(recordings) - len(failures),
        seconds=seconds,
        words=words,
        characters=characters,
        cpu_seconds=time.process_time() - began,
        scored=tuple(scored),
        failures=tuple(failures),
    )
