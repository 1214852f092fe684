"""Write transcripts: one line of text, JSON, SubRip or WebVTT."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # so that the help text, which lists FORMATS, loads no torch
    from asr.decoding.base import Word

    from .events import Final
    from .offline import SourceResult

MAX_CUE_CHARACTERS = 84
MAX_CUE_SECONDS = 7.0
CUE_PAUSE_SECONDS = 0.6


@dataclass(frozen=True)
class Cue:
    """What a player shows from `start` to `end` (seconds)."""

    text: str
    start: float
    end: float


def cues(finals: Iterable[Final]) -> Iterator[Cue]:
    """Cut utterances into cues: at pauses, and before one grows too long.

    A cue has at most 84 characters and 7 seconds unless it is a single word, lies within
    one utterance, and lasts from its first word's start to its last word's end.
    """
    for final in finals:
        group: list[Word] = []
        for word in final.words:
            if group and _is_cue_end(group, word):
                yield _cue(group)
                group = []
            group.append(word)
        if group:
            yield _cue(group)


def _is_cue_end(group: list[Word], following: Word) -> bool:
    characters = sum(len(word.text) + 1 for word in group) + len(following.text)
    return (
        following.start - group[-1].end >= CUE_PAUSE_SECONDS
        or following.end - group[0].start > MAX_CUE_SECONDS
        or characters > MAX_CUE_CHARACTERS
    )


def _cue(words: list[Word]) -> Cue:
    return Cue(" ".join(word.text for word in words), words[0].start, words[-1].end)


def printable(text: str) -> str:
    """The text on one line: control characters and broken encodings as escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


NOT_UNDERSTOOD = "not understood: "


def to_text(result: SourceResult) -> str:
    """All words on one line; what is no command of the grammar in force is marked."""
    return " ".join(
        final.text if final.understood is not False else NOT_UNDERSTOOD + final.text
        for final in result.finals
    ) + "\n"


def to_json(result: SourceResult) -> str:
    """One JSON object on one line.

    ::

        {"file": str, "text": str, "seconds": float,      duration of the audio read
         "utterances": [{"start": float, "end": float,    seconds from the file's start
                         "text": str, "confidence": float,    mean of its words', 0 to 1
                         "understood": bool,             only with a grammar; then also
                         "intent": str, "slots": {name: value}, "grammar": str,   if understood
                         "words": [{"word": str, "start": float, "end": float,
                                    "confidence": float}]}],
         "error": str}                                    only where reading ended early

    Times are rounded to milliseconds, confidences to four digits.
    """
    document: dict[str, Any] = {
        "file": result.name,
        "text": result.text,
        "seconds": round(result.seconds, 3),
        "utterances": [_utterance(final) for final in result.finals],
    }
    if result.reason is not None:
        document["error"] = result.reason
    return json.dumps(document, ensure_ascii=False) + "\n"


def _utterance(final: Final) -> dict[str, Any]:
    return {
        "start": round(final.start, 3),
        "end": round(final.end, 3),
        "text": final.text,
        "confidence": round(final.confidence, 4),
        "words": [word_document(word) for word in final.words],
    } | meaning_document(final)


def word_document(word: Word) -> dict[str, Any]:
    """A word as JSON: times rounded to milliseconds, confidences to four digits."""
    return {
        "word": word.text,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "confidence": round(word.confidence, 4),
    }


def meaning_document(final: Final) -> dict[str, Any]:
    """What a final adds where a grammar is in force: whether it is a command, and which."""
    document: dict[str, Any] = {}
    if final.understood is not None:
        document["understood"] = final.understood
    if final.interpretation is not None:
        document |= final.interpretation.as_dict()
    if final.wake:
        document["wake"] = True
    return document


def to_srt(result: SourceResult) -> str:
    """SubRip: numbered cues; empty without words."""
    return "\n".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n"
        for number, cue in enumerate(cues(result.finals), start=1)
    )


def to_vtt(result: SourceResult) -> str:
    """WebVTT: its header, then the cues, with what would be markup escaped."""
    blocks = ["WEBVTT\n"]
    for cue in cues(result.finals):
        text = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{text}\n")
    return "\n".join(blocks)


def _clock(seconds: float, point: str) -> str:
    """hours:minutes:seconds with three decimals behind `point`."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}{point}{milliseconds:03}"


FORMATS: dict[str, tuple[str, Callable[[SourceResult], str]]] = {
    "text": (".txt", to_text),
    "json": (".json", to_json),
    "srt": (".srt", to_srt),
    "vtt": (".vtt", to_vtt),
}
"""By name: the suffix of its files, and the function that renders a result."""

LINE_FORMATS = frozenset({"text", "json"})
"""Formats that give one line a file, so that several can share standard output."""
