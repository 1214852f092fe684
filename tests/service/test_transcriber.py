"""One stream: partials, finals and the cuts between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.decoding.base import NOTHING, Hypothesis, LastTokens
from asr.decoding.greedy import GreedyDecoder, GreedyStream
from asr.errors import AudioFormatError
from asr.streaming import Recognizer
from asr.vocabulary import WORD_START, Vocabulary
from service.endpointing import EndpointConfig
from service.events import Event, Final, Partial
from service.gate import Gate, GateRules
from service.transcriber import StreamTranscriber, silent_frames

Speech = Callable[..., NDArray[np.float32]]


def run(
    recognizer: Recognizer, samples: NDArray[np.float32], packet: int = 1600, **options: Any
) -> list[Event]:
    transcriber = StreamTranscriber("x", recognizer, 16_000, **options)
    events: list[Event] = []

    def drain() -> None:
        while transcriber.session.ready:
            recognizer.step([transcriber.session])
            events.extend(transcriber.events())

    for at in range(0, len(samples), packet):
        transcriber.accept(samples[at : at + packet])
        drain()
    transcriber.finish()
    drain()
    return events + transcriber.last_events()


def finals(events: list[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def test_partials_grow_into_a_final(recognizer: Recognizer, speech: Speech) -> None:
    events = run(recognizer, speech("ab c"))
    assert [(type(event), event.text) for event in events] == [
        (Partial, "a"),
        (Partial, "ab"),
        (Partial, "ab c"),
        (Final, "ab c"),
    ]


def test_a_pause_cuts_the_stream_into_utterances(recognizer: Recognizer, speech: Speech) -> None:
    first, second = finals(run(recognizer, speech("ab c.d")))
    assert (first.text, second.text) == ("ab c", "d")
    assert (first.utterance, second.utterance) == (0, 1)
    # words begin with their tones: 0.1 s silence, two tones, a gap, a tone, 1.5 s
    assert [word.start for word in first.words] == pytest.approx([0.1, 0.7], abs=0.05)
    assert second.start == pytest.approx(2.4, abs=0.05)
    assert second.confidence == pytest.approx(np.exp(-0.1), abs=1e-3)


def test_silence_gives_no_events(recognizer: Recognizer) -> None:
    assert run(recognizer, np.zeros(16_000 * 12, np.float32)) == []
    assert run(recognizer, np.zeros(0, np.float32)) == []


class HesitantStream(GreedyStream):
    """Shows a word only at the end."""

    def hypothesis(self, final: bool = False) -> Hypothesis:
        best = super().hypothesis(final)
        return best if final else Hypothesis(length=best.length, trailing_blanks=best.length)


class Hesitant(GreedyDecoder):
    def new_stream(self, last: LastTokens = NOTHING) -> HesitantStream:
        return HesitantStream(last.letter, False)


def test_what_only_the_end_makes_a_word_ends_with_the_silence_behind_it(
    recognizer: Recognizer, speech: Speech
) -> None:
    rules = EndpointConfig(silence_after_speech=0.6, silence_without_speech=8.0)
    quiet = np.zeros(48_000, np.float32)
    samples = np.concatenate((speech("ab"), quiet, speech("c"), quiet))
    events = run(recognizer, samples, endpoint=rules, decoder=Hesitant())
    assert [event.text for event in finals(events)] == ["ab", "c"]


class WithdrawingStream(GreedyStream):
    """Takes back at the end what it has shown."""

    def hypothesis(self, final: bool = False) -> Hypothesis:
        best = super().hypothesis(final)
        return Hypothesis(length=best.length, trailing_blanks=best.length) if final else best


class Withdrawing(GreedyDecoder):
    def new_stream(self, last: LastTokens = NOTHING) -> WithdrawingStream:
        return WithdrawingStream(last.letter, False)


def test_what_the_end_takes_back_is_withdrawn(recognizer: Recognizer, speech: Speech) -> None:
    events = run(recognizer, speech("a."), decoder=Withdrawing())
    assert [(type(event), event.text) for event in events] == [(Partial, "a"), (Partial, "")]


def test_a_forced_cut_splits_no_word(recognizer: Recognizer, speech: Speech) -> None:
    rules = EndpointConfig(max_utterance=2.0, hard_limit=4.0)
    cut = finals(run(recognizer, speech("abcd " * 6, gap=0.12), endpoint=rules))
    assert len(cut) > 1
    assert {word.text for final in cut for word in final.words} == {"abcd"}
    assert sum(len(final.words) for final in cut) == 6


def test_the_hard_limit_cuts_inside_a_word_but_doubles_no_letter(
    recognizer: Recognizer, speech: Speech
) -> None:
    rules = EndpointConfig(max_utterance=1.0, hard_limit=1.5)
    cut = finals(run(recognizer, speech("abcd" * 4, tone=0.3), endpoint=rules))
    assert len(cut) > 1
    assert "".join(final.text for final in cut) == "abcd" * 4


@pytest.mark.parametrize("packet", [1, 159, 16_000, 1_000_000])
def test_packet_sizes_do_not_matter(
    noisy_recognizer: Recognizer, speech: Speech, packet: int
) -> None:
    samples = speech("ab.cd")[:40_000] if packet > 1 else speech("ab")[:4_000]
    rules = EndpointConfig(max_utterance=0.5, hard_limit=1.0)
    expected = finals(run(noisy_recognizer, samples, endpoint=rules))
    found = finals(run(noisy_recognizer, samples, packet, endpoint=rules))
    assert [final.text for final in found] == [final.text for final in expected]
    assert packet == 1 or expected


@pytest.mark.parametrize(("hears_speech", "count"), [(True, 1), (False, 2)])
def test_a_pause_that_the_detector_takes_for_speech_cuts_only_if_it_is_long(
    recognizer: Recognizer, speech: Speech, hears_speech: bool, count: int
) -> None:
    def detect(samples: NDArray[np.float32]) -> float:
        return float(hears_speech or np.abs(samples).max() > 0.05)

    found = finals(run(recognizer, speech("ab c.d"), gate=Gate(lambda: detect, GateRules())))
    assert len(found) == count
    assert " ".join(final.text for final in found) == "ab c d"


def test_without_partials_only_finals_are_told(recognizer: Recognizer, speech: Speech) -> None:
    events = run(recognizer, speech("ab.c"), partials=False)
    assert [type(event) for event in events] == [Final, Final]


def test_the_mark_behind_a_word_counts_as_silence() -> None:
    vocabulary = Vocabulary.letters()
    letter, mark = vocabulary.tokens.index("a"), vocabulary.tokens.index(WORD_START)
    spoken = Hypothesis((letter,), (3,), (-0.1,), length=10, trailing_blanks=5)
    assert silent_frames(spoken, vocabulary) == 5  # a held letter counts to its end
    marked = Hypothesis((letter, mark), (3, 8), (-0.1, -0.1), length=10, trailing_blanks=1)
    assert silent_frames(marked, vocabulary) == 6
    assert silent_frames(Hypothesis(length=4, trailing_blanks=4), vocabulary) == 4


def test_impossible_audio_is_refused(recognizer: Recognizer) -> None:
    with pytest.raises(AudioFormatError, match="4000 Hz"):
        StreamTranscriber("x", recognizer, 4_000)
