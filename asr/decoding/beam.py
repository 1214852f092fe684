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
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.errors import ConfigError
from asr.vocabulary import BLANK_ID

from .base import Hypothesis
from .confidence import ConfidenceConfig
from .prefix_tree import PrefixTree

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Keys = NDArray[np.uint64]

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

    beam: int = 32
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
        confidence: ConfidenceConfig | None = None,
    ) -> None:
        self.config, self.scorers = config or BeamConfig(), tuple(scorers)
        self.confidence = confidence

    def new_stream(self, last_token: int | None = None) -> BeamStream:
        """State of one utterance; `last_token` is not emitted again if it goes on."""
        return BeamStream(self.config, self.scorers, BLANK_ID if last_token is None else last_token)


@dataclass(frozen=True)
class _Beam:
    """The hypotheses of one frame, as parallel arrays of n rows."""

    key: Keys
    """Hash of the token sequence: what makes two prefixes the same."""
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
    active: Ints
    """Last frame in which the last token was likelier than a blank behind it; -1: none."""
    states: tuple[Ints, ...]
    """One (n, width) array a scorer."""

    def take(self, rows: NDArray[np.intp]) -> _Beam:
        return _Beam(
            self.key[rows], self.node[rows], self.last[rows], self.blank[rows], self.token[rows],
            self.extra[rows], self.active[rows], tuple(state[rows] for state in self.states),
        )

    def join(self, other: _Beam) -> _Beam:
        def both(name: str) -> NDArray[Any]:
            return np.concatenate((getattr(self, name), getattr(other, name)))

        return _Beam(
            both("key"), both("node"), both("last"), both("blank"), both("token"),
            both("extra"), both("active"),
            tuple(map(np.concatenate, zip(self.states, other.states, strict=True))),
        )


class BeamStream:
    """The search of one utterance."""

    def __init__(self, config: BeamConfig, scorers: tuple[Scorer, ...], last_token: int) -> None:
        self._config, self._scorers = config, scorers
        self._add = np.logaddexp if config.total else np.maximum
        self._tree = PrefixTree()
        self._length = 0
        # a token that an earlier cut has emitted counts as "last", with a blank not seen yet
        handed = last_token != BLANK_ID
        self._beam = _Beam(
            key=np.zeros(1, np.uint64),
            node=np.zeros(1, np.int32),
            last=np.full(1, last_token, np.int32),
            blank=np.full(1, -np.inf if handed else 0.0),
            token=np.full(1, 0.0 if handed else -np.inf),
            extra=np.zeros(1),
            active=np.full(1, -1, np.int32),
            states=tuple(scorer.start()[None] for scorer in scorers),
        )

    @property
    def last_token(self) -> int:
        """What the best path ends in (a blank if so), to hand over at a forced cut."""
        best = int(np.argmax(self._ranks()))
        beam = self._beam
        return int(beam.last[best]) if beam.token[best] > beam.blank[best] else BLANK_ID

    def advance(self, log_probs: Tensor) -> None:
        """Take the next log-probs, shaped (frames, vocab)."""
        rows = log_probs.detach().cpu().double().numpy()
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
        beam = self._beam
        n = len(beam.key)
        total = self._add(beam.blank, beam.token)
        blank = total + row[BLANK_ID]
        token = beam.token + row[beam.last]
        # the same token again is a new one only behind a blank
        again = beam.last[:, None] == tokens
        grown = np.where(again, beam.blank[:, None], total[:, None]) + row[tokens]  # (n, k)

        floor = (self._add(blank, token) + beam.extra).max() - self._config.beam_threshold
        wanted = grown + beam.extra[:, None] >= floor
        key = (beam.key[:, None] * _MIX + tokens.astype(np.uint64) + np.uint64(1)) * _STEP
        wanted, token = self._merge(beam, key, grown, wanted, blank, token, row)
        extra, states = self._score(beam, tokens, wanted)
        rank = np.where(wanted, grown + extra, -np.inf)

        kept = self._add(blank, token) + beam.extra
        ranks = np.concatenate((kept, rank.ravel()))
        alive = np.flatnonzero(ranks >= ranks.max() - self._config.beam_threshold)
        if len(alive) > self._config.beam:
            alive = alive[np.argpartition(-ranks[alive], self._config.beam - 1)]
            alive = alive[: self._config.beam]
        old, new = alive[alive < n], alive[alive >= n] - n

        active = np.where(token > blank, self._length, beam.active).astype(np.int32)
        stayed = _Beam(beam.key, beam.node, beam.last, blank, token, beam.extra, active,
                       beam.states).take(old)
        held = stayed.active == self._length
        self._tree.strengthen(stayed.node[held], row[stayed.last[held]], self._length)
        if not len(new):
            self._beam = stayed
            return
        parent, column = np.divmod(new, len(tokens))
        last = tokens[column]
        born = _Beam(
            key=key[parent, column],
            node=self._tree.grow(beam.node[parent], last, self._length, row[last]),
            last=last,
            blank=np.full(len(new), -np.inf),
            token=grown[parent, column],
            extra=extra[parent, column],
            active=np.full(len(new), self._length, np.int32),
            states=tuple(state[parent, column] for state in states),
        )
        self._beam = stayed.join(born)

    def _merge(
        self, beam: _Beam, key: Keys, grown: Floats, wanted: NDArray[np.bool_], blank: Floats,
        token: Floats, row: Floats,
    ) -> tuple[NDArray[np.bool_], Floats]:
        """Give extensions that already are in the beam to the hypothesis that they equal."""
        order = np.argsort(beam.key)
        ranked = beam.key[order]
        at = np.minimum(np.searchsorted(ranked, key), len(ranked) - 1)
        same = ranked[at] == key
        if same.any():
            token = token.copy()
            target = order[at[same]]  # a prefix has one parent: no target comes twice
            # where most of the mass is new, so is the place of the last token
            late = grown[same] > self._add(blank[target], token[target])
            moved = target[late]
            self._tree.move(beam.node[moved], row[beam.last[moved]], self._length)
            token[target] = self._add(token[target], grown[same])
            wanted = wanted & ~same
        return wanted, token

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
        )
