"""Promises of measuring word times and first partials."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.decoding.base import Word
from asr.manifest import SpokenWord, read_manifest
from asr.streaming import Recognizer
from service.evaluation import evaluate
from service.events import Event, Final, Partial
from service.timing import WordTimes, time_words

Say = Callable[..., Path]


def partial(text: str, utterance: int = 0) -> Partial:
    return Partial("x", utterance, text, 0.0, 0.0)


def final(*words: tuple[str, float, float], utterance: int = 0) -> Final:
    return Final("x", utterance, tuple(Word(t, start, end, 1.0) for t, start, end in words))


SPOKEN = (SpokenWord("the", 0.0, 0.2), SpokenWord("old", 0.2, 0.5), SpokenWord("the", 0.5, 0.7))


def test_words_heard_right_are_timed() -> None:
    heard = final(("the", 0.1, 0.3), ("odd", 0.3, 0.5), ("the", 0.65, 0.75))
    times = time_words(SPOKEN, [(heard, 2.0)])
    assert times.starts == pytest.approx((0.1, 0.15))
    assert times.ends == pytest.approx((0.1, 0.05))
    assert times.delays == pytest.approx((1.8, 1.3))


def test_a_word_is_shown_when_a_partial_has_it_whole_and_often_enough() -> None:
    told: list[tuple[Event, float]] = [
        (partial("th"), 0.3), (partial("the"), 0.4), (partial("the o"), 0.6),
        (partial("the old"), 0.8), (partial("the old the"), 1.0),
        (final(("the", 0, 0.2), ("old", 0.2, 0.5), ("the", 0.5, 0.7)), 1.5),
    ]
    assert time_words(SPOKEN, told).delays == pytest.approx((0.2, 0.3, 0.3))


def test_another_utterance_shows_nothing_of_this_one() -> None:
    told: list[tuple[Event, float]] = [
        (final(("the", 0, 0.2)), 0.5), (partial("the", 1), 0.9),
        (final(("the", 0.5, 0.7), utterance=1), 1.5),
    ]
    assert time_words(SPOKEN, told).delays == pytest.approx((0.3, 0.2))


def test_figures_are_of_sizes_and_the_bias_has_a_sign() -> None:
    found = WordTimes((-0.1, -0.3, 0.1), (0.2, 0.2, 0.2), (0.3, 0.3, 0.5)).figures()
    assert found is not None
    assert (found["start_error_median"], found["start_bias"]) == pytest.approx((0.1, -0.1))
    assert (found["end_error_p95"], found["end_bias"]) == pytest.approx((0.2, 0.2))
    assert found["first_shown_median"] == pytest.approx(0.3)
    assert WordTimes().figures() is None


def test_aligned_recordings_are_timed_as_a_live_stream_hears_them(
    recognizer: Recognizer, say: Say, tmp_path: Path
) -> None:
    say("x.wav", "ab c")  # tones of 0.2 s behind 0.1 s of silence, 0.2 s between words
    row = {"audio": "x.wav", "text": "ab c", "words": [["ab", 0.1, 0.5], ["c", 0.7, 0.9]]}
    path = tmp_path / "list.jsonl"
    path.write_text(json.dumps(row) + "\n")
    times = evaluate(recognizer, read_manifest(path)).times
    assert times.starts == pytest.approx((0.0, 0.0), abs=0.1)
    # a letter is heard where its tone begins
    assert times.ends == pytest.approx((-0.2, -0.2), abs=0.1)
    # a chunk of 0.16 s may just have missed the end of a word
    assert all(-0.2 < delay <= recognizer.latency + 0.2 for delay in times.delays)


def test_what_no_aligner_timed_costs_nothing(
    recognizer: Recognizer, say: Say, tmp_path: Path
) -> None:
    say("x.wav", "ab c")
    path = tmp_path / "list.jsonl"
    path.write_text('{"audio": "x.wav", "text": "ab c"}\n')
    assert evaluate(recognizer, read_manifest(path)).times == WordTimes()
