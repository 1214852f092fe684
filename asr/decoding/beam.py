"""CTC prefix beam search, vectorised over the beam and open to further sources of knowledge.

Each hypothesis is a distinct token sequence with two masses, that of its alignments which
end in a blank and that of those which end in its last token (Graves 2006, section 7.5.1;
Hannun et al. 2014). A frame costs a fixed number of numpy calls, whatever the utterance's
length. Language model, grammar and hot words are `Scorer`s: automata whose states ride along
with the hypotheses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.errors import ConfigError
from asr.vocabulary import BLANK_ID

from .base import NOTHING, Hypothesis, LastTokens, output_read
from .confidence import ConfidenceConfig
from .prefix_tree import PrefixTree

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Keys = NDArray[np.uint64]

_NONE = np.uint64(2**64 - 1)
"""In place of a key."""
_MIX, _STEP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)


class Scorer(Protocol):
    """Knowledge beyond acoustics: shared, stateless; its states are int32 rows.

    Scores are natural logarithms that are added to a hypothesis' acoustic score; -inf forbids.
    """

    def start(self) -> Ints:
        """The state of the empty prefix, shaped (width,)."""
        ...

    def extend(
        self, states: Ints, tokens: Ints, wanted: NDArray[np.bool_]
    ) -> tuple[Floats, Ints]:
        """Append each of `tokens` (k,) to prefixes in `states` (n, width).

        Returns scores (n, k) and new states (n, k, width); only cells in `wanted` (n, k)
        count.
        """
        ...

    def finish(self, states: Ints) -> Floats:
        """What the end of the utterance adds to prefixes in `states`: (n,)."""
        ...


@dataclass(frozen=True)
class BeamConfig:
    """How widely to search."""

    beam: int = 100
    """Hypotheses kept from frame to frame."""
    top_k: int = 12
    """Tokens considered in a frame besides the blank."""
    token_threshold: float = 7.0
    """Tokens whose log-probability is further below the frame's best are not considered."""
    beam_threshold: float = 14.0
    """Hypotheses whose score is further below the best are dropped."""
    blank_skip: float = 0.99
    """Frames whose blank is at least so probable are not searched; above 1: all are."""
    total: bool = True
    """Sum over the alignments of a prefix; false: only the best counts."""

    def __post_init__(self) -> None:
        if self.beam < 1 or self.top_k < 1:
            raise ConfigError(f"beam and top_k must be at least 1, got {self.beam}, {self.top_k}")
        if not (self.token_threshold > 0 and self.beam_threshold > 0 and self.blank_skip > 0):
            raise ConfigError("token_threshold, beam_threshold and blank_skip must be above 0")


class BeamDecoder:
    """Search settings and scorers; makes one stream an utterance."""

    def __init__(
        self, config: BeamConfig | None = None, scorers: Sequence[Scorer] = (),
        confidence: ConfidenceConfig | None = None, *, pieces: bool = False,
    ) -> None:
        """The scorers' tokens are those of the word pieces if `pieces`, else of the letters."""
        self.config, self.scorers = config or BeamConfig(), tuple(scorers)
        self.confidence, self.pieces = confidence, pieces

    def new_stream(self, last: LastTokens = NOTHING) -> BeamStream:
        """State of one utterance; the last token is not emitted again if it goes on."""
        return BeamStream(self.config, self.scorers, last.of(self.pieces), self.pieces)


@dataclass(frozen=True)
class _Beam:
    """The hypotheses of one frame, as parallel arrays of n rows."""

    key: Keys
    """Hash of the token sequence: what makes two prefixes the same."""
    parent: Keys
    """The key of the prefix without its last token."""
    node: Ints
    """Where the prefix ends in the tree of prefixes."""
    last: Ints
    """Last token; the blank for the empty prefix."""
    blank: Floats
    """Log-mass of the alignments that end in a blank."""
    token: Floats
    """Log-mass of those that end in the last token."""
    extra: Floats
    """What the scorers added."""
    active: NDArray[np.int64]
    """Last frame in which the last token was likelier than a blank behind it; -1: none."""
    states: tuple[Ints, ...]
    """One (n, width) array a scorer."""


class BeamStream:
    """The search of one utterance."""

    def __init__(
        self, config: BeamConfig, scorers: tuple[Scorer, ...], last_token: int, pieces: bool
    ) -> None:
        self._config, self._scorers, self._pieces = config, scorers, pieces
        self._add = np.logaddexp if config.total else np.maximum
        self._tree = PrefixTree()
        self._length = 0
        # a token that an earlier cut has emitted counts as "last", with a blank not seen yet
        handed = last_token != BLANK_ID
        self._beam = _Beam(
            key=np.zeros(1, np.uint64),
            parent=np.full(1, _NONE),
            node=np.zeros(1, np.int32),
            last=np.full(1, last_token, np.int32),
            blank=np.full(1, -np.inf if handed else 0.0),
            token=np.full(1, 0.0 if handed else -np.inf),
            extra=np.zeros(1),
            active=np.full(1, -1),
            states=tuple(scorer.start()[None] for scorer in scorers),
        )

    @property
    def last_tokens(self) -> LastTokens:
        """See `DecoderStream.last_tokens`."""
        best = int(np.argmax(self._ranks()))
        beam = self._beam
        token = int(beam.last[best]) if beam.token[best] > beam.blank[best] else BLANK_ID
        return LastTokens.only(token, self._pieces)

    def advance(self, letters: Tensor, pieces: Tensor | None = None) -> None:
        """See `DecoderStream.advance`."""
        rows = output_read(letters, pieces, self._pieces).detach().cpu().double().numpy()
        if not len(rows):
            return
        skip = rows[:, BLANK_ID] >= np.log(self._config.blank_skip)
        k = min(self._config.top_k, rows.shape[1] - 1)
        best = np.argpartition(-rows[:, 1:], k - 1, axis=1)[:, :k].astype(np.int32) + 1
        likely = np.take_along_axis(rows, best, 1) >= (
            rows.max(1, keepdims=True) - self._config.token_threshold
        )
        for row, skipped, tokens, mask in zip(rows, skip, best, likely, strict=True):
            if skipped:
                self._wait(row)
            else:
                self._step(row, tokens[mask])
            self._length += 1
        self._tree.settle(self._beam.node)
        if self._tree.is_full:
            self._beam = replace(self._beam, node=self._tree.compact(self._beam.node))

    def _wait(self, row: Floats) -> None:
        """A frame that is taken for a certain blank."""
        beam = self._beam
        total = self._add(beam.blank, beam.token) + row[BLANK_ID]
        self._beam = replace(beam, blank=total, token=np.full(len(total), -np.inf))

    def _step(self, row: Floats, tokens: Ints) -> None:
        # about half the time goes into calls, not into numbers: each array is made once
        beam, config = self._beam, self._config
        total = self._add(beam.blank, beam.token)
        blank = total + row[BLANK_ID]
        token = beam.token + row.take(beam.last)
        # the same token again is a new one only behind a blank
        again = beam.last[:, None] == tokens
        grown = np.where(again, beam.blank[:, None], total[:, None])  # (n, k)
        grown += row.take(tokens)
        floor = (self._add(blank, token) + beam.extra).max() - config.beam_threshold
        wanted = grown >= (floor - beam.extra)[:, None]
        self._merge(beam, tokens, grown, wanted, blank, token, row)
        extra, states = self._score(beam, tokens, wanted)

        n = len(total)
        ranks = np.empty(n + grown.size)
        ranks[:n] = self._add(blank, token) + beam.extra
        ranks[n:] = np.where(wanted, grown + extra, -np.inf).ravel()
        alive = np.flatnonzero(ranks >= ranks.max() - config.beam_threshold)
        if len(alive) > config.beam:
            alive = alive[np.argpartition(-ranks[alive], config.beam - 1)[: config.beam]]
        stays = alive < n
        old, new = alive[stays], alive[~stays] - n

        node, last, blank, token = beam.node[old], beam.last[old], blank[old], token[old]
        held = token > blank
        active = np.where(held, self._length, beam.active[old])
        above, column = np.divmod(new, max(1, len(tokens)))
        born, parent = tokens[column], beam.key[above]
        key = (parent * _MIX + born.astype(np.uint64) + np.uint64(1)) * _STEP
        grown_node = self._tree.grow(beam.node[above], born, self._length, row.take(born))
        self._tree.strengthen(node[held], row.take(last[held]), self._length)
        join = np.concatenate
        self._beam = _Beam(
            key=join((beam.key[old], key)),
            parent=join((beam.parent[old], parent)),
            node=join((node, grown_node)),
            last=join((last, born)),
            blank=join((blank, np.full(len(new), -np.inf))),
            token=join((token, grown.take(new))),
            extra=join((beam.extra[old], extra.take(new))),
            active=join((active, np.full(len(new), self._length))),
            states=tuple(
                join((before[old], after.reshape(-1, before.shape[1])[new]))
                for before, after in zip(beam.states, states, strict=True)
            ),
        )

    def _merge(
        self, beam: _Beam, tokens: Ints, grown: Floats, wanted: NDArray[np.bool_], blank: Floats,
        token: Floats, row: Floats,
    ) -> None:
        """Give extensions that already are in the beam to the hypothesis that they equal.

        Their mass moves into `token`, and they are `wanted` no more.
        """
        columns = np.full(len(row), -1)
        columns[tokens] = np.arange(len(tokens))
        column = columns[beam.last]
        order = beam.key.argsort()
        above = order.take(beam.key.searchsorted(beam.parent, sorter=order), mode="clip")
        same = np.flatnonzero((beam.key[above] == beam.parent) & (column >= 0))
        if len(same):  # a prefix has one parent: none is named twice
            cells = above[same], column[same]
            added = grown[cells]
            # where most of the mass is new, so is the place of the last token
            moved = same[added > self._add(blank[same], token[same])]
            self._tree.move(beam.node[moved], row[beam.last[moved]], self._length)
            token[same] = self._add(token[same], added)
            wanted[cells] = False

    def _score(
        self, beam: _Beam, tokens: Ints, wanted: NDArray[np.bool_]
    ) -> tuple[Floats, list[Ints]]:
        extra = np.repeat(beam.extra[:, None], len(tokens), axis=1)
        states = []
        for scorer, state in zip(self._scorers, beam.states, strict=True):
            added, new = scorer.extend(state, tokens, wanted)
            extra += added
            states.append(new)
        return extra, states

    def _ranks(self, final: bool = False) -> Floats:
        beam = self._beam
        ranks: Floats = self._add(beam.blank, beam.token) + beam.extra
        if final:
            for scorer, state in zip(self._scorers, beam.states, strict=True):
                ranks = ranks + scorer.finish(state)
        return ranks

    def hypothesis(self, final: bool = False) -> Hypothesis:
        """The best hypothesis so far, or as if the utterance ended here. Pure."""
        return self.n_best(1, final)[0]

    def n_best(self, count: int, final: bool = False) -> list[Hypothesis]:
        """Up to `count` hypotheses, the best first."""
        ranks = self._ranks(final)
        if not np.isfinite(ranks).any():  # nothing can end here: show what was heard
            ranks = self._ranks()
        order = np.argsort(-ranks, kind="stable")[:count]
        return [self._read(int(i), float(ranks[i])) for i in order if np.isfinite(ranks[i])]

    def _read(self, row: int, score: float) -> Hypothesis:
        tokens, frames, log_probs = self._tree.path(int(self._beam.node[row]))
        return Hypothesis(
            tokens, frames, log_probs, score, self._length,
            self._length - 1 - int(self._beam.active[row]),
            stable=min(self._tree.settled, len(tokens)),
            pieces=self._pieces,
        )
