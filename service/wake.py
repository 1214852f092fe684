"""Wake phrases: commands count in the utterance that one opens, and for some seconds after it.

There is no second network: the phrase is part of the grammar. While the ear is closed the
search knows `phrase [command]`, while it is open `command` too.
"""

from __future__ import annotations

from dataclasses import dataclass

from asr.decoding.base import Decoder
from asr.decoding.commands import CommandDecoder
from asr.errors import ConfigError

from .config import WakeConfig


@dataclass(frozen=True)
class Wake:
    """What the streams of one grammar share."""

    closed: Decoder
    """Searches while only the phrase, or a command behind it, is listened for."""
    open: Decoder
    """Searches while a command alone counts."""
    seconds: float
    """How long the ear stays open after the phrase."""


def make_wake(decoder: Decoder, config: WakeConfig) -> Wake | None:
    """The searches that a decoder with a grammar becomes; None where no phrase is set.

    Raises ConfigError for a phrase that cannot be said, or without a grammar.
    """
    if not config.phrases:
        return None
    if not isinstance(decoder, CommandDecoder):
        raise ConfigError("a wake phrase needs a grammar", "wake.phrases")

    def within(bare: bool) -> CommandDecoder:
        grammar = decoder.grammar.behind(config.phrases, bare=bare)
        return CommandDecoder(grammar, decoder.vocabulary, decoder.free, decoder.config)

    return Wake(within(bare=False), within(bare=True), config.seconds)


class Ear:
    """Whether commands count at a time of one stream, in its seconds."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._until = float("-inf")

    def configure(self, wake: Wake) -> None:
        """Other searches; a phrase just heard still counts."""
        self._wake = wake

    def open(self, time: float) -> None:
        """The phrase ended at that time."""
        self._until = time + self._wake.seconds

    def decoder(self, now: float) -> Decoder:
        """How to search what begins now."""
        return self._wake.open if now <= self._until else self._wake.closed
