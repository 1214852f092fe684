"""The rules that end an utterance."""

from __future__ import annotations

import pytest

from asr.errors import ConfigError
from service.endpointing import EndpointConfig, is_endpoint

CONFIG = EndpointConfig()


def ends(
    utterance: float, silence: float = 0.0, speech: bool = True, between_words: bool = False
) -> bool:
    return is_endpoint(
        CONFIG,
        utterance=utterance,
        trailing_silence=silence,
        has_speech=speech,
        between_words=between_words,
    )


def test_silence_ends_an_utterance_with_words_sooner_than_one_without() -> None:
    assert not ends(5, silence=0.96)
    assert ends(5, silence=1.0)
    assert not ends(4, silence=4, speech=False)
    assert ends(5, silence=5, speech=False)


def test_a_detector_must_hear_the_silence_too_unless_no_word_comes_for_long() -> None:
    def ends(silence: float, detected: float, complete: bool = False) -> bool:
        return is_endpoint(
            CONFIG, utterance=4, trailing_silence=silence, has_speech=True, between_words=False,
            detected_silence=detected, complete=complete,
        )  # fmt: skip

    assert not ends(1.0, detected=0.74)
    assert ends(1.0, detected=0.75)
    assert not ends(0.96, detected=3.0)
    assert not ends(2.16, detected=0.0)
    assert ends(2.2, detected=0.0)
    assert ends(0.2, detected=0.0, complete=True)  # nothing can follow: the words are enough


def test_a_long_utterance_waits_for_the_next_gap_between_words() -> None:
    assert not ends(29, between_words=True)
    assert not ends(31)
    assert ends(31, between_words=True)
    assert ends(31, silence=0.3)


def test_nothing_is_longer_than_the_hard_limit() -> None:
    assert ends(35)


@pytest.mark.parametrize(
    "setting", [{"gap": 0.0}, {"max_utterance": float("nan")}, {"hard_limit": 20.0}]
)
def test_impossible_rules_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        EndpointConfig(**setting)


def test_a_complete_command_ends_sooner() -> None:
    def ends(silence: float, complete: bool) -> bool:
        return is_endpoint(
            CONFIG, utterance=2, trailing_silence=silence, has_speech=True, between_words=True,
            complete=complete,
        )  # fmt: skip

    assert ends(0.16, complete=True)
    assert not ends(0.14, complete=True)
    assert not ends(0.36, complete=False)
