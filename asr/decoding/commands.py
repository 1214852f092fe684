"""Commands: a search within a grammar beside a free one, and the choice between them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.errors import ConfigError
from asr.vocabulary import Vocabulary

from .base import Decoder, DecoderStream, Hypothesis
from .beam import BeamConfig, BeamDecoder, BeamStream
from .grammar import Grammar
from .greedy import GreedyDecoder, GreedyStream

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


class GrammarScorer:
    """Allows sentences of a grammar and nothing else. States are (automaton state,)."""

    def __init__(self, grammar: Grammar, vocabulary: Vocabulary) -> None:
        self.grammar = grammar
        boundaries = [i for i in range(len(vocabulary)) if vocabulary.is_boundary(i)]
        self._boundary = np.array(boundaries, np.int32)

    def start(self) -> Ints:
        """Before the first word."""
        return np.array([self.grammar.start], np.int32)

    def extend(
        self, states: Ints, tokens: Ints, wanted: NDArray[np.bool_]
    ) -> tuple[Floats, Ints]:
        """See `Scorer.extend`."""
        before = states[:, 0]
        after = self.grammar.successors(before)[:, tokens]
        # behind a cut in mid-stream the network writes the boundary that ended the last word
        leading = (before[:, None] == self.grammar.start) & np.isin(tokens, self._boundary)
        after = np.where(leading, self.grammar.start, after)
        return np.where(after >= 0, 0.0, -np.inf), after[:, :, None]

    def finish(self, states: Ints) -> Floats:
        """See `Scorer.finish`: half a sentence is none."""
        return np.where(self.grammar.accepting(states[:, 0]), 0.0, -np.inf)


@dataclass(frozen=True)
class CommandConfig:
    """When a command counts as understood; tuned for a bundle."""

    threshold: float = 0.8
    """Most that the grammar's sentence may score below the free reading, in nats a token."""
    beam: BeamConfig = field(
        default_factory=lambda: BeamConfig(
            beam=24, top_k=16, token_threshold=12.0, blank_skip=0.999
        )
    )
    """Wide in tokens: what a grammar allows next is often not what sounds likeliest."""

    def __post_init__(self) -> None:
        if self.threshold < 0:
            raise ConfigError(f"threshold must not be negative, got {self.threshold}")


class CommandDecoder:
    """Finds the likeliest sentence of a grammar, and rejects what sounds too unlike it.

    `free` decodes what is shown for speech that is no command.
    """

    def __init__(
        self, grammar: Grammar, vocabulary: Vocabulary, free: Decoder,
        config: CommandConfig | None = None,
    ) -> None:
        self.grammar, self.vocabulary, self.free = grammar, vocabulary, free
        self.config = config or CommandConfig()
        self._search = BeamDecoder(self.config.beam, [GrammarScorer(grammar, vocabulary)])

    def new_stream(self, last_token: int | None = None) -> CommandStream:
        """State of one utterance."""
        return CommandStream(
            self, self._search.new_stream(last_token), self.free.new_stream(last_token),
            GreedyDecoder().new_stream(last_token),
        )


class CommandStream:
    """The searches of one utterance, side by side."""

    def __init__(
        self, decoder: CommandDecoder, within: BeamStream, free: DecoderStream,
        path: GreedyStream,
    ) -> None:
        self._decoder, self._within, self._free, self._path = decoder, within, free, path

    @property
    def last_token(self) -> int:
        """What the best path ends in (a blank if so), to hand over at a forced cut."""
        return self._path.last_token

    def advance(self, log_probs: Tensor) -> None:
        """Take the next log-probs, shaped (frames, vocab)."""
        self._within.advance(log_probs)
        self._free.advance(log_probs)
        self._path.advance(log_probs)

    def distance(self, final: bool = False) -> float:
        """How far the grammar's best is below the best path of all, in nats a token.

        This log-likelihood ratio against an unrestricted path is the usual measure of
        out-of-grammar speech (Rose and Paul 1990); infinite where the grammar has no reading.
        """
        within, path = self._within.hypothesis(final), self._path.hypothesis()
        if final and not self._accepts(within):
            return float("inf")
        return max(0.0, path.score - within.score) / max(1, len(path.tokens), len(within.tokens))

    def hypothesis(self, final: bool = False) -> Hypothesis:
        """The command, or the free reading where it is too far from any.

        Until the end the free reading is shown as soon as no command is near enough. As each
        may yet give way to the other, nothing is stable before.
        """
        within = self._within.hypothesis(final)
        understood = bool(within.tokens) and self.distance(final) <= self._decoder.config.threshold
        grammar, states = self._decoder.grammar, self._states(within)
        if not understood:
            free = self._free.hypothesis(final)
            return replace(free, understood=False, stable=len(free.tokens) if final else 0)
        vocabulary = self._decoder.vocabulary
        meaning = grammar.interpret(vocabulary.decode(within.tokens)) if final else None
        return replace(
            within, understood=True, interpretation=meaning,
            accepting=bool(grammar.accepting(states)[0]),
            continues=bool(grammar.continues(states)[0]),
            stable=len(within.tokens) if final else 0,
        )

    def _accepts(self, hypothesis: Hypothesis) -> bool:
        return bool(self._decoder.grammar.accepting(self._states(hypothesis))[0])

    def _states(self, hypothesis: Hypothesis) -> Ints:
        tokens = list(hypothesis.tokens)
        while tokens and self._decoder.vocabulary.is_boundary(tokens[0]):
            tokens.pop(0)
        return np.array([self._decoder.grammar.state_after(tokens)], np.int32)
