"""Commands: a search within a grammar beside a free one, and the choice between them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from asr.errors import ConfigError
from asr.vocabulary import Vocabulary

from .base import NOTHING, Decoder, DecoderStream, Hypothesis, LastTokens
from .beam import BeamConfig, BeamDecoder, BeamStream
from .greedy import GreedyDecoder, GreedyStream

if TYPE_CHECKING:  # its libraries are not needed where models are only trained
    from .grammar import Grammar

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


SENTENCE_MARGIN = 0.2
"""Nats a token by which a whole sentence may be less likely than a mere beginning of one and
still be taken for complete."""


class GrammarScorer:
    """Allows sentences of a grammar and nothing else, and gives `bonus` for each letter.

    The network writes boundaries where a stream is cut: before the first word that of the
    word ahead of the cut, behind the last word that of the word itself. Both are allowed.
    States are (automaton state, whether such a boundary ended a whole sentence).
    """

    def __init__(self, grammar: Grammar, vocabulary: Vocabulary, bonus: float = 0.0) -> None:
        self.grammar, self.bonus = grammar, bonus
        boundaries = [i for i in range(len(vocabulary)) if vocabulary.is_boundary(i)]
        self._boundary = np.array(boundaries, np.int32)

    def start(self) -> Ints:
        """Before the first word."""
        return np.array([self.grammar.start, 0], np.int32)

    def extend(
        self, states: Ints, tokens: Ints, wanted: NDArray[np.bool_]
    ) -> tuple[Floats, Ints]:
        """See `Scorer.extend`."""
        before = states[:, 0]
        boundary = np.isin(tokens, self._boundary)
        after = self.grammar.successors(before)[:, tokens]
        leading = (before[:, None] == self.grammar.start) & boundary
        after = np.where(leading, self.grammar.start, after)
        ended = self.grammar.accepting(before)[:, None] & boundary
        earned = np.where(boundary, 0.0, self.bonus)
        scores = np.where((after >= 0) | ended, earned, -np.inf)
        return scores, np.stack((after, ended), axis=2).astype(np.int32)

    def finish(self, states: Ints) -> Floats:
        """See `Scorer.finish`: half a sentence is none."""
        whole = self.grammar.accepting(states[:, 0]) | (states[:, 1] > 0)
        return np.where(whole, 0.0, -np.inf)


@dataclass(frozen=True)
class CommandConfig:
    """When a command counts as understood; tuned for a bundle."""

    threshold: float = 3.0
    """Largest `CommandStream.distance` of a command."""
    beam: BeamConfig = field(
        default_factory=lambda: BeamConfig(
            beam=96, top_k=32, token_threshold=20.0, beam_threshold=25.0, blank_skip=0.999
        )
    )
    """Wide: what a grammar allows next is often not what sounds likeliest."""
    letters: float = 4.0
    """Nats that a letter counts which was heard otherwise."""
    bonus: float = 0.0
    """Nats that each letter of a sentence earns in the search. A network that is unsure spreads
    every letter over several spellings; without a bonus the shortest sentence would win."""

    def __post_init__(self) -> None:
        if not 0 <= self.bonus < float("inf"):
            raise ConfigError(f"bonus must not be negative, got {self.bonus}")
        if not self.threshold >= 0:  # nor not a number
            raise ConfigError(f"threshold must not be negative, got {self.threshold}")
        if not self.letters >= 0:
            raise ConfigError(f"letters must not be negative, got {self.letters}")


class CommandDecoder:
    """Finds the likeliest sentence of a grammar, and rejects what sounds too unlike it.

    `free` decodes what is shown for speech that is no command, be it from word pieces; the
    sentences are searched for in letters: they hear names that the pieces have never written.
    """

    def __init__(
        self, grammar: Grammar, vocabulary: Vocabulary, free: Decoder,
        config: CommandConfig | None = None,
    ) -> None:
        self.grammar, self.vocabulary = grammar, vocabulary
        self.free, self.pieces = free, free.pieces
        self.config = config or CommandConfig()
        self.confidence = free.confidence
        scorer = GrammarScorer(grammar, vocabulary, self.config.bonus)
        self._search = BeamDecoder(self.config.beam, [scorer])

    def new_stream(self, last: LastTokens = NOTHING) -> CommandStream:
        """State of one utterance."""
        return CommandStream(
            self, self._search.new_stream(last), self.free.new_stream(last),
            GreedyDecoder().new_stream(last),
        )


class CommandStream:
    """The searches of one utterance, side by side."""

    def __init__(
        self, decoder: CommandDecoder, within: BeamStream, free: DecoderStream,
        path: GreedyStream,
    ) -> None:
        self._decoder, self._within, self._free, self._path = decoder, within, free, path

    @property
    def last_tokens(self) -> LastTokens:
        """See `DecoderStream.last_tokens`."""
        return LastTokens(self._path.last_tokens.letter, self._free.last_tokens.piece)

    def advance(self, letters: Tensor, pieces: Tensor | None = None) -> None:
        """See `DecoderStream.advance`."""
        self._within.advance(letters)
        self._free.advance(letters, pieces)
        self._path.advance(letters)

    def distance(self, final: bool = False) -> float:
        """How unlike the grammar's best sentence it sounds.

        The log-likelihood ratio against an unrestricted path is the usual measure of
        out-of-grammar speech (Rose and Paul 1990). To it comes the Levenshtein distance of the
        two texts: a network that is unsure finds many a sentence likely, but not by the letters
        that it heard. Both in nats a letter of the longer text; infinite where the grammar has no
        reading.
        """
        return self._distance(self._within.hypothesis(final), final)

    def _distance(self, within: Hypothesis, final: bool) -> float:
        path = self._path.hypothesis()
        if final and not self._ends(within)[0]:
            return float("inf")
        config = self._decoder.config
        heard, wanted = self._letters(path), self._letters(within)
        otherwise = config.letters * Levenshtein.distance(heard, wanted)
        # with letters added to all lengths, short commands would be found in other speech
        length = max(len(heard), len(wanted), 1)
        likelihood = within.score - config.bonus * self._count(within)
        return (max(0.0, path.score - likelihood) + otherwise) / length

    def _count(self, hypothesis: Hypothesis) -> int:
        """Tokens that are no boundary."""
        return sum(not self._decoder.vocabulary.is_boundary(t) for t in hypothesis.tokens)

    def _letters(self, hypothesis: Hypothesis) -> str:
        return self._decoder.vocabulary.decode(hypothesis.tokens).replace(" ", "")

    def hypothesis(self, final: bool = False) -> Hypothesis:
        """The command, or the free reading where it is too far from any.

        Until the end the free reading is shown as soon as no command is near enough. As each
        may yet give way to the other, nothing is stable before.
        """
        within = self._within.hypothesis(final)
        distance = self._distance(within, final) if within.tokens else float("inf")
        if not distance <= self._decoder.config.threshold or distance == float("inf"):
            free = self._free.hypothesis(final)
            stable = len(free.tokens) if final else 0
            return replace(free, understood=False, distance=distance, stable=stable)
        accepting, continues = self._ends(within if final else self._sentence(within))
        text, grammar = self._decoder.vocabulary.decode(within.tokens), self._decoder.grammar
        wake = grammar.wake_words(text)
        command = len(text.split()) > wake  # a wake phrase alone asks for nothing
        return replace(
            within, understood=command, wake=wake, distance=distance,
            interpretation=grammar.interpret(text) if final and command else None,
            accepting=accepting, continues=continues,
            stable=len(within.tokens) if final else 0,
        )

    def n_best(self, count: int, final: bool = False) -> list[Hypothesis]:
        """Sentences of the grammar if it was understood, else free readings."""
        best = self.hypothesis(final)
        rivals = self._within if best.understood or best.wake else self._free
        return [best, *rivals.n_best(count, final)[1:]][:count]

    def _sentence(self, beginning: Hypothesis) -> Hypothesis:
        """The whole sentence that sounds about as likely as the likeliest beginning, if any.

        Else "on tv" would wait for ever for what follows on "on the".
        """
        whole = self._within.hypothesis(final=True)
        behind = (beginning.score - whole.score) / max(1, len(whole.tokens))
        distance = self._distance(whole, False)
        near = behind <= SENTENCE_MARGIN and distance <= self._decoder.config.threshold
        return whole if near else beginning

    def _ends(self, hypothesis: Hypothesis) -> tuple[bool, bool]:
        """Whether a sentence is complete, and whether a longer one begins like this."""
        grammar, boundary = self._decoder.grammar, self._decoder.vocabulary.is_boundary
        tokens = list(itertools.dropwhile(boundary, hypothesis.tokens))
        # a sentence that a boundary ended: see GrammarScorer
        last = tokens[-1:] if tokens and boundary(tokens[-1]) else []
        before = grammar.state_after(tokens[: len(tokens) - len(last)])
        states = np.array([before, grammar.state_after(last, before)], np.int32)
        return bool(grammar.accepting(states).any()), bool(grammar.continues(states)[1])
