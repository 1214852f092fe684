"""Text, JSON and subtitles."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.base import Word
from asr.errors import AudioFileError
from service.events import Final
from service.formats import FORMATS, cues, printable, to_json, to_srt, to_text, to_vtt
from service.offline import SourceResult

RESULT = SourceResult(
    "talk.wav",
    (
        Final("talk.wav", 0, (Word("so", 0.48, 0.6, 0.9), Word("long", 0.72, 1.04, 0.7))),
        Final("talk.wav", 1, (Word("bye", 3661.0004, 3661.5, 0.5),)),
    ),
    3662.25,
    None,
)
EMPTY = SourceResult("silence.wav", (), 2.0, None)


@st.composite
def utterances(draw: st.DrawFn) -> list[Final]:
    """Words that follow each other in time, of any length, in any number of utterances."""
    finals, now = [], 0.0
    lengths = st.one_of(st.floats(0.04, 1.0), st.floats(0.04, 12.0))
    for number in range(draw(st.integers(0, 4))):
        words = []
        for _ in range(draw(st.integers(1, 30))):
            now += draw(st.floats(0.0, 1.0))
            end = now + draw(lengths)
            text = "x" * draw(st.one_of(st.integers(1, 12), st.integers(1, 120)))
            words.append(Word(text, now, end, 0.5))
            now = end
        finals.append(Final("x", number, tuple(words)))
    return finals


@given(utterances())
def test_cues_stay_within_their_limits_and_lose_nothing(finals: list[Final]) -> None:
    found = list(cues(finals))
    for cue in found:
        assert " " not in cue.text or len(cue.text) <= 84
        assert " " not in cue.text or cue.end - cue.start <= 7.0
        assert cue.start < cue.end
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
    words = [word.text for final in finals for word in final.words]
    assert " ".join(cue.text for cue in found).split() == words


@given(utterances())
def test_cues_are_cut_at_pauses_and_between_utterances(finals: list[Final]) -> None:
    starts = {cue.start for cue in cues(finals)}
    for final in finals:
        assert final.start in starts
        for before, word in itertools.pairwise(final.words):
            assert word.start - before.end < 0.6 or word.start in starts


def test_text_is_one_line() -> None:
    assert to_text(RESULT) == "so long bye\n"
    assert to_text(EMPTY) == "\n"


def test_json_holds_times_and_confidences() -> None:
    line = to_json(RESULT)
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "file": "talk.wav",
        "text": "so long bye",
        "seconds": 3662.25,
        "utterances": [
            {
                "start": 0.48,
                "end": 1.04,
                "text": "so long",
                "confidence": 0.8,
                "words": [
                    {"word": "so", "start": 0.48, "end": 0.6, "confidence": 0.9},
                    {"word": "long", "start": 0.72, "end": 1.04, "confidence": 0.7},
                ],
            },
            {
                "start": 3661.0,
                "end": 3661.5,
                "text": "bye",
                "confidence": 0.5,
                "words": [{"word": "bye", "start": 3661.0, "end": 3661.5, "confidence": 0.5}],
            },
        ],
    }


def test_json_tells_why_reading_ended_early() -> None:
    cut = SourceResult("x.wav", RESULT.finals, 4.0, AudioFileError("x.wav", "truncated"))
    assert json.loads(to_json(cut))["error"] == "truncated"


def test_srt_numbers_its_cues() -> None:
    assert to_srt(RESULT) == (
        "1\n00:00:00,480 --> 00:00:01,040\nso long\n\n2\n01:01:01,000 --> 01:01:01,500\nbye\n"
    )
    assert to_srt(EMPTY) == ""


def test_vtt_has_a_header_and_escapes_markup() -> None:
    marked = (Final("x", 0, (Word("<b>&", 0.0, 59.9996, 0.5),)),)
    assert to_vtt(SourceResult("x", marked, 60.0, None)) == (
        "WEBVTT\n\n00:00:00.000 --> 00:01:00.000\n&lt;b&gt;&amp;\n"
    )
    assert to_vtt(EMPTY) == "WEBVTT\n"


@given(utterances())
def test_subtitle_times_never_run_backwards(finals: list[Final]) -> None:
    text = to_srt(SourceResult("x", tuple(finals), 1.0, None))
    clocks = re.findall(r"(\d\d):(\d\d):(\d\d),(\d{3})", text)
    times = [tuple(map(int, clock)) for clock in clocks]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("name", "shown"), [("a b.wav", "a b.wav"), ("a\nb", "a\\nb"), ("\udcff\x1b[", "\\udcff\\x1b[")]
)
def test_names_are_shown_on_one_line(name: str, shown: str) -> None:
    assert printable(name) == shown


def test_every_format_has_a_suffix_of_its_own() -> None:
    assert len({suffix for suffix, _ in FORMATS.values()}) == len(FORMATS)
