"""Best-path CTC decoding: the most probable token of each frame, repeats and blanks removed."""

from __future__ import annotations

from torch import Tensor

from asr.vocabulary import BLANK_ID

from .base import NOTHING, Hypothesis, LastTokens, output_read
from .confidence import ConfidenceConfig


class GreedyDecoder:
    """No search: what reads best without any is word pieces, where a model writes some."""

    confidence: ConfidenceConfig | None = None

    def __init__(self, *, pieces: bool = False) -> None:
        self.pieces = pieces

    def new_stream(self, last: LastTokens = NOTHING) -> GreedyStream:
        """State of one utterance; the last token is not emitted again if it goes on."""
        return GreedyStream(last.of(self.pieces), self.pieces)


class GreedyStream:
    """The best path of one utterance."""

    def __init__(self, last_token: int = BLANK_ID, pieces: bool = False) -> None:
        self._last, self._pieces = last_token, pieces
        self._length = 0
        self._score = 0.0
        self._tokens: list[int] = []
        self._frames: list[int] = []
        self._log_probs: list[float] = []
        self._last_active = -1

    @property
    def last_tokens(self) -> LastTokens:
        """See `DecoderStream.last_tokens`."""
        return LastTokens.only(self._last, self._pieces)

    def advance(self, letters: Tensor, pieces: Tensor | None = None) -> None:
        """See `DecoderStream.advance`."""
        scores, ids = output_read(letters, pieces, self._pieces).max(-1)
        for token, score in zip(ids.tolist(), scores.tolist(), strict=True):
            if token != BLANK_ID:
                if token != self._last:
                    self._tokens.append(token)
                    self._frames.append(self._length)
                    self._log_probs.append(score)
                else:  # a held token counts with its clearest frame
                    self._strengthen(score)
                self._last_active = self._length
            self._last = token
            self._score += score
            self._length += 1

    def _strengthen(self, score: float) -> None:
        if self._log_probs:
            self._log_probs[-1] = max(self._log_probs[-1], score)

    def hypothesis(self, final: bool = False) -> Hypothesis:
        """The best path so far; an end changes nothing."""
        return Hypothesis(
            tuple(self._tokens),
            tuple(self._frames),
            tuple(self._log_probs),
            self._score,
            self._length,
            self._length - 1 - self._last_active,
            stable=len(self._tokens),
            pieces=self._pieces,
        )

    def n_best(self, count: int, final: bool = False) -> list[Hypothesis]:
        """The best path alone."""
        return [self.hypothesis(final)][:count]
