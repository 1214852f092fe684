"""What a reload can change of the daemon's streams."""

from __future__ import annotations

from dataclasses import dataclass

from asr.bundle import Bundle
from asr.decoding.base import Decoder

from .config import DaemonConfig
from .endpointing import EndpointConfig
from .recognition import configured_decoder
from .wake import Wake, make_wake


@dataclass(frozen=True)
class Behaviour:
    """How streams search and when their utterances end."""

    endpoint: EndpointConfig
    decoder: Decoder
    wake: Wake | None = None


def load_behaviour(bundle: Bundle, config: DaemonConfig) -> Behaviour:
    """What a configuration asks for; a large grammar takes seconds.

    Raises HotwordError, GrammarError or ConfigError.
    """
    decoder = configured_decoder(bundle, config.recognition)
    return Behaviour(config.endpointing.rules(), decoder, make_wake(decoder, config.wake))
