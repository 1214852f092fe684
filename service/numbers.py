"""Spoken numbers as digits, by the library text2num (MIT; the extra `numbers`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from asr.decoding.base import Word
from asr.errors import ConfigError

Rewrite = Callable[[tuple[Word, ...]], tuple[Word, ...]]
"""Writes the words of an utterance in another way."""

SMALLEST = 3.0
"""Smaller numbers that stand alone stay words: "one" is mostly a pronoun, "second" a time."""

PAUSE_SECONDS = 0.6
"""Numbers further apart are two numbers."""

MULTIPLES = {"hundred", "thousand", "million", "billion"}
PLURALS = {f"{word}s" for word in MULTIPLES}
CENTURIES = {"17", "18", "19", "20"}

Span = tuple[int, int, str]
"""From the first to behind the last word, and what is written for them."""


def number_writer() -> Rewrite:
    """What writes the numbers of an utterance as digits.

    Such a word lasts from the first to the last of those that it stands for and has the least
    of their confidences. Raises ConfigError where the library is not installed.
    """
    try:
        from text_to_num import find_numbers
    except ImportError as error:
        raise ConfigError("text2num is missing: pip install 'asrd[numbers]'") from error

    def write(words: tuple[Word, ...]) -> tuple[Word, ...]:
        found = find_numbers([_Token(words, at) for at in range(len(words))], "en", SMALLEST)
        written: list[Word] = []
        done = 0
        for start, end, text in _with_years(_spans(words, found), words):
            parts = words[start:end]
            confidence = min(part.confidence for part in parts)
            written += words[done:start]
            written.append(Word(text, parts[0].start, parts[-1].end, confidence))
            done = end
        return (*written, *words[done:])

    return write


class _Token:
    """A word as text2num wants it."""

    def __init__(self, words: tuple[Word, ...], at: int) -> None:
        self._words, self._at = words, at

    def text(self) -> str:
        return self._words[self._at].text

    def nt_separated(self, previous: _Token) -> bool:
        return _is_pause(self._words, self._at)

    def not_a_number_part(self) -> bool:
        # a thirty second timer is not the 32nd; thousands of them are not 1000
        seconds = self.text() == "second" and _text(self._words, self._at - 2) != "the"
        return seconds or self.text() in PLURALS


def _is_pause(words: tuple[Word, ...], at: int) -> bool:
    """Whether a word follows the one before after a while."""
    return words[at].start - words[at - 1].end > PAUSE_SECONDS


def _text(words: tuple[Word, ...], at: int) -> str:
    return words[at].text if at >= 0 else ""


def _spans(words: tuple[Word, ...], found: Iterable[Any]) -> Iterator[Span]:
    """What text2num found, but for what are no numbers in English."""
    for number in found:
        start, before = number.start, _text(words, number.start - 1)
        if _text(words, start) in MULTIPLES:
            # "a hundred" is a number; "half a million" and "several thousand" are none
            if before != "a" or _text(words, start - 2) == "half":
                continue
            start -= 1
        elif number.is_ordinal and before == "a":  # a third of something
            continue
        yield start, number.end, number.text


def _with_years(spans: Iterable[Span], words: tuple[Word, ...]) -> list[Span]:
    """Centuries joined with the years in them: nineteen eighty four, twenty twenty six."""
    joined: list[Span] = []
    for start, end, text in spans:
        century = joined[-1] if joined else (-1, -1, "")
        if (
            century[1] == start and century[2] in CENTURIES and not _is_pause(words, start)
            and len(text) == 2 and text.isdecimal() and text[0] != "0"
        ):
            joined[-1] = (century[0], end, century[2] + text)
        else:
            joined.append((start, end, text))
    return joined
