"""Wake phrases: what counts as a command, and for how long."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.decoding.base import Hypothesis
from asr.decoding.commands import CommandConfig, CommandDecoder, CommandStream
from asr.decoding.grammar import compile_grammar, read_document
from asr.decoding.greedy import GreedyDecoder
from asr.errors import ConfigError
from asr.streaming import Recognizer
from service.config import WakeConfig
from service.endpointing import EndpointConfig
from service.events import Final, event_document
from service.gate import Gate, GateRules
from service.transcriber import StreamTranscriber
from service.wake import Wake, make_wake

from .conftest import make_bundle

Speech = Callable[..., NDArray[np.float32]]
GRAMMAR = "intents: {Do: {data: [{sentences: ['ab [c]']}]}}"
CONFIG = WakeConfig(phrases=("D",), seconds=4.0)


@pytest.fixture(scope="module")
def commanded() -> Recognizer:
    """Hears tones; "ab" and "ab c" are commands."""
    bundle = make_bundle()
    document = read_document("do", [("do.yaml", GRAMMAR)])
    grammar = compile_grammar(document, bundle.vocabulary)
    # words of a letter or two: strict, or any is like any other
    config = CommandConfig(threshold=0.5)
    decoder = CommandDecoder(grammar, bundle.vocabulary, GreedyDecoder(), config)
    return Recognizer(bundle.extractor, bundle.model, bundle.vocabulary, decoder)


@pytest.fixture(scope="module")
def wake(commanded: Recognizer) -> Wake:
    made = make_wake(commanded.decoder, CONFIG)
    assert made is not None
    return made


Finals = Callable[..., list[Final]]


@pytest.fixture
def finals(commanded: Recognizer, speech: Speech, wake: Wake) -> Finals:
    def run(
        text: str, gated: bool = False, packet: int = 800, reload: bool = False
    ) -> list[Final]:
        gate = Gate(lambda: lambda s: float(np.abs(s).max() > 0.1), GateRules())
        transcriber = StreamTranscriber(
            "x", commanded, 16_000, partials=False, wake=wake, gate=gate if gated else None
        )
        found: list[Final] = []

        def drain() -> None:
            while transcriber.session.ready:
                commanded.step([transcriber.session])
                found.extend(e for e in transcriber.events() if isinstance(e, Final))

        samples = speech(text)
        for at in range(0, len(samples), packet):
            transcriber.accept(samples[at : at + packet])
            drain()
            if reload and at <= len(samples) // 2 < at + packet:
                transcriber.configure(
                    EndpointConfig(), commanded.decoder, make_wake(commanded.decoder, CONFIG)
                )
        transcriber.finish()
        drain()
        return found + [e for e in transcriber.last_events() if isinstance(e, Final)]

    return run


def told(finals: list[Final]) -> list[tuple[str, bool | None, bool]]:
    return [(final.text, final.understood, final.wake) for final in finals]


with_and_without_a_gate = pytest.mark.parametrize("gated", [False, True])


@with_and_without_a_gate
def test_a_command_counts_behind_the_phrase_only(finals: Finals, gated: bool) -> None:
    found = finals("ab c.d ab c", gated)
    assert told(found) == [("ab c", False, False), ("d ab c", True, True)]
    assert found[0].interpretation is None
    assert found[1].interpretation is not None
    assert found[1].interpretation.text == "ab c"


@with_and_without_a_gate
def test_the_ear_stays_open_for_a_while_after_the_phrase(finals: Finals, gated: bool) -> None:
    assert told(finals("d.ab.ab c", gated)) == [
        ("d", False, True), ("ab", True, False), ("ab c", True, False),
    ]  # fmt: skip


def test_a_command_that_no_partial_shows_still_counts_when_the_ear_closes(
    finals: Finals, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = CommandStream.hypothesis

    def hesitant(stream: CommandStream, final: bool = False) -> Hypothesis:
        best = reading(stream, final)
        return best if final else Hypothesis(length=best.length, trailing_blanks=best.length)

    monkeypatch.setattr(CommandStream, "hypothesis", hesitant)
    assert told(finals("d..ab..")) == [("d", False, True), ("ab", True, False)]


@with_and_without_a_gate
def test_a_reload_leaves_the_ear_open(finals: Finals, gated: bool) -> None:
    assert told(finals("d..ab", gated, reload=True)) == [("d", False, True), ("ab", True, False)]


@with_and_without_a_gate
def test_a_command_that_begins_too_late_is_none(finals: Finals, gated: bool) -> None:
    assert told(finals("d...ab.d.ab", gated)) == [
        ("d", False, True), ("ab", False, False), ("d", False, True), ("ab", True, False),
    ]  # fmt: skip


@pytest.mark.parametrize("packet", [97, 16_000])
def test_packet_sizes_do_not_matter(finals: Finals, packet: int) -> None:
    text = "d..ab.d...ab.d ab"
    assert finals(text, packet=packet) == finals(text)


def test_other_speech_opens_nothing(finals: Finals) -> None:
    assert told(finals("c d.ab")) == [("c d", False, False), ("ab", False, False)]


def test_json_tells_the_phrase_where_it_was_heard(finals: Finals) -> None:
    woken, plain = (event_document(final, 0.0) for final in finals("d ab.ab"))
    assert (woken["text"], woken["intent"], woken["wake"]) == ("d ab", "Do", True)
    assert (plain["text"], plain["intent"], "wake" in plain) == ("ab", "Do", False)


def test_without_a_phrase_there_is_nothing_to_wait_for(commanded: Recognizer) -> None:
    assert make_wake(commanded.decoder, WakeConfig()) is None


def test_a_phrase_without_a_grammar_is_refused(recognizer: Recognizer) -> None:
    with pytest.raises(ConfigError, match="needs a grammar"):
        make_wake(recognizer.decoder, CONFIG)
