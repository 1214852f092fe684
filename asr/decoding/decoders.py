"""The decoders by name, as command lines and bundles call them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from asr.errors import ConfigError
from asr.vocabulary import Vocabulary

from .base import Decoder, TimingConfig
from .beam import BeamConfig, BeamDecoder, Scorer
from .commands import CommandConfig
from .confidence import ConfidenceConfig
from .greedy import GreedyDecoder
from .hotwords import Hotword, HotwordScorer
from .lexicon import WordConfig, WordScorer
from .lm.language_model import LanguageModel

DECODERS = ("greedy", "beam", "lm")
"""Best path; prefix beam search; the same with the bundle's language model."""


@dataclass(frozen=True)
class SearchConfig:
    """Settings of the searches; tuned for a bundle and shipped with it."""

    beam: BeamConfig = field(default_factory=BeamConfig)
    words: WordConfig = field(default_factory=WordConfig)
    commands: CommandConfig = field(default_factory=CommandConfig)
    confidence: ConfidenceConfig | None = None
    """Fitted for the bundle's best decoder."""
    timing: TimingConfig = field(default_factory=TimingConfig)
    """Measured with the bundle's best decoder."""


def make_decoder(
    name: str,
    vocabulary: Vocabulary,
    config: SearchConfig,
    language_model: Callable[[], LanguageModel],
    hotwords: Sequence[Hotword] = (),
    pieces: bool = False,
) -> Decoder:
    """A decoder by its name; `language_model` is called only if it is needed.

    `vocabulary` is of the model's word pieces if `pieces`, else of its letters.

    Raises ConfigError for an unknown name, and for hot words with a decoder that searches
    nothing.
    """
    if name not in DECODERS:
        raise ConfigError(f"unknown decoder {name!r}: use one of {', '.join(DECODERS)}")
    if name == "greedy":
        if hotwords:
            raise ConfigError("hot words need a search: use the decoder lm or beam, not greedy")
        return GreedyDecoder(pieces=pieces)
    scorers: list[Scorer] = []
    if name == "lm":
        words = WordScorer(language_model(), vocabulary, config.words)
        scorers.append(words)
        hotwords = [as_known(hotword, words, vocabulary) for hotword in hotwords]
    if hotwords:
        scorers.append(HotwordScorer(hotwords, vocabulary))
    return BeamDecoder(config.beam, scorers, config.confidence, pieces=pieces)


GIVEN_BACK = 0.25
"""Share of an unknown word's price: with all of it hot words turn up where nobody said them."""


def as_known(hotword: Hotword, words: WordScorer, vocabulary: Vocabulary) -> Hotword:
    """A phrase to prefer with part of what its unknown words cost: who names it knows it."""
    if hotword.boost <= 0:
        return hotword
    price = GIVEN_BACK * words.price_of_unknown(hotword.text, vocabulary)
    letters = sum(len(vocabulary.tokens[token]) for token in vocabulary.encode(hotword.text))
    return replace(hotword, boost=hotword.boost + price / letters)
