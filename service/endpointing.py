"""Decide when an utterance is over: pure arithmetic on durations."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from asr.errors import ConfigError

AGREED = 0.75
"""Share of the silence after speech that the detector must hear, too. Words are written when they
have been recognised, some at their beginning: a long last word, or a pause, looks longer than it is
to the search."""
UNHEARD = 1.2
"""Seconds of further silence after which the search is believed against a detector that goes on
hearing speech: music and voices from far away write no words."""


@dataclass(frozen=True)
class EndpointConfig:
    """The rules, as seconds. Each one alone ends an utterance."""

    silence_after_speech: float = 1.0
    """Silence that ends an utterance with words."""
    silence_after_command: float = 0.15
    """The same where a sentence of the grammar is complete and none goes on like it."""
    silence_without_speech: float = 5.0
    """Silence that ends one without, so that a search never grows on nothing."""
    max_utterance: float = 30.0
    """Length from which on the next gap between words ends the utterance."""
    gap: float = 0.3
    """Silence that counts as such a gap; letters of one word are hardly ever that far apart."""
    hard_limit: float = 35.0
    """Length that ends an utterance wherever it is, be it inside a word."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                value = getattr(self, field.name)
                raise ConfigError(f"{field.name} must be above 0, got {value}", field.name)
        if self.hard_limit < self.max_utterance:
            raise ConfigError(
                f"hard_limit ({self.hard_limit}) must not be below "
                f"max_utterance ({self.max_utterance})",
                "hard_limit",
            )


def is_endpoint(
    config: EndpointConfig,
    *,
    utterance: float,
    trailing_silence: float,
    has_speech: bool,
    between_words: bool,
    complete: bool = False,
    detected_silence: float = math.inf,
) -> bool:
    """Whether an utterance of that many seconds ends here.

    `trailing_silence` is what the search hears, `detected_silence` what a voice activity detector
    does, if there is one. `between_words` says that the last token marks the end of a word, so
    that a cut right here splits none; `complete`, that no command can follow on it.
    """
    if not has_speech:
        return trailing_silence >= config.silence_without_speech
    enough = config.silence_after_speech
    agreed = detected_silence >= AGREED * enough or trailing_silence >= enough + UNHEARD
    if (trailing_silence >= enough and agreed) or utterance >= config.hard_limit:
        return True
    if complete and trailing_silence >= min(enough, config.silence_after_command):
        return True
    in_gap = between_words or trailing_silence >= config.gap
    return utterance >= config.max_utterance and in_gap
