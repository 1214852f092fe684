"""Spoken numbers as digits."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.decoding.base import Word, text_of
from asr.errors import ConfigError
from asr.streaming import Recognizer
from service.cli import main
from service.events import Event, Final, Partial
from service.numbers import Rewrite, number_writer
from service.offline import FileSource, transcribe_sources

Say = Callable[..., Path]

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("text_to_num") is None, reason="needs the extra numbers"
)


def timed(text: str, pause_before: int | None = None) -> tuple[Word, ...]:
    """Words of 0.2 s with gaps of 0.1 s, and of 1 s before one of them."""
    words, now = [], 0.0
    for number, word in enumerate(text.split()):
        now += 1.0 if number == pause_before else 0.1
        words.append(Word(word, now, now + 0.2, 0.9 - 0.1 * number))
        now += 0.2
    return tuple(words)


def written(text: str, pause_before: int | None = None) -> str:
    return text_of(number_writer()(timed(text, pause_before)))


@needs_library
@pytest.mark.parametrize(
    ("spoken", "digits"),
    [
        ("one hundred and five lamps", "105 lamps"),
        ("a hundred and five", "105"),
        ("it cost a thousand", "it cost 1000"),
        ("twenty one", "21"),
        ("three million two hundred thousand and six", "3200006"),
        ("two point five degrees", "2.5 degrees"),
        ("ten percent of twelve", "10 percent of 12"),
        ("at seven o'clock", "at 7 o'clock"),
        ("half past seven", "half past 7"),
        ("the twenty first of june", "the 21st of june"),
        ("the twenty second of june", "the 22nd of june"),
        ("the fifth time", "the 5th time"),
        ("in nineteen eighty four", "in 1984"),
        ("twenty twenty six", "2026"),
        ("two thousand and five", "2005"),
        ("nineteen five", "19 5"),
        ("fifteen thirty", "15 30"),
        ("nine one one", "9 1 1"),
        ("a thirty second timer and a ten minute one", "a 30 second timer and a 10 minute one"),
    ],
)  # fmt: skip
def test_numbers_become_digits(spoken: str, digits: str) -> None:
    assert written(spoken) == digits


@needs_library
@pytest.mark.parametrize(
    "text",
    [
        "", "turn on the light", "one of them", "no one knows", "the one i want", "one by one",
        "wait a second", "second thoughts", "the first time", "thousands of people",
        "half a million", "several hundred years", "a third of it", "oh dear", "the twenties",
        "point taken", "someone said and", "won too for",
    ],
)  # fmt: skip
def test_other_texts_stay_as_they_are(text: str) -> None:
    words = timed(text)
    assert number_writer()(words) == words


@needs_library
def test_digits_last_from_the_first_to_the_last_of_their_words() -> None:
    words = timed("set a hundred and five percent")
    before, number, behind = number_writer()(words)
    assert (before, behind) == (words[0], words[-1])
    assert number == Word("105", words[1].start, words[4].end, words[4].confidence)


@needs_library
def test_a_pause_parts_numbers() -> None:
    assert written("twenty one") == "21"
    assert written("twenty five", pause_before=1) == "20 5"
    assert written("nineteen eighty", pause_before=1) == "19 80"


def test_a_missing_library_is_told(
    say: Say, bundled: object, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "text_to_num", None)
    with pytest.raises(ConfigError, match="text2num is missing"):
        number_writer()
    assert main(["transcribe", "--numbers", str(say("x.wav"))]) == 1
    assert capfd.readouterr() == ("", "asrd: text2num is missing: pip install 'asrd[numbers]'\n")


@needs_library
def test_text_without_numbers_passes_the_command_line(
    say: Say, bundled: object, capfd: pytest.CaptureFixture[str]
) -> None:
    path = say("x.wav", "ab c")
    for options in ([], ["--numbers"]):
        assert main(["transcribe", "--format", "json", *options, str(path)]) == 0
    plain, numbers = map(json.loads, capfd.readouterr().out.splitlines())
    assert plain == numbers


def shout(words: tuple[Word, ...]) -> tuple[Word, ...]:
    return tuple(Word(w.text.upper(), w.start, w.end, w.confidence) for w in words)


def test_finals_are_rewritten_and_partials_are_not(recognizer: Recognizer, say: Say) -> None:
    events: list[Event] = []
    rewrite: Rewrite = shout
    (result,) = transcribe_sources(
        recognizer, [FileSource(say("x.wav", "ab c"))], on_event=events.append, rewrite=rewrite
    )
    assert result.text == "AB C"
    assert [event.text for event in events if isinstance(event, Partial)] == ["a", "ab", "ab c"]
    assert [event.text for event in events if isinstance(event, Final)] == ["AB C"]
