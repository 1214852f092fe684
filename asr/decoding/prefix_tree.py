"""The prefixes of a beam search as a tree, so that a hypothesis is one number."""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Path = tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]
"""Tokens, their frames, their log-probabilities."""

FULL = 1 << 16
TIMES = ("_frame", "_peak", "_frame_before", "_peak_before")


class PrefixTree:
    """Nodes are tokens that follow their parent; node 0 is the empty prefix.

    What all living prefixes share is settled: it moves out of the tree into lists, so that
    reading a path costs no more late in an utterance than early.
    """

    def __init__(self) -> None:
        self._parent = np.zeros(1024, np.int32)
        self._token = np.zeros(1024, np.int32)
        self._frame = np.zeros(1024, np.int32)
        self._peak = np.zeros(1024, np.float32)
        # where the token before stood when this one followed: as the end of another prefix it
        # may since have moved behind this one
        self._frame_before = np.zeros(1024, np.int32)
        self._peak_before = np.zeros(1024, np.float32)
        self._size = 1
        self._root = 0
        self._settled: list[tuple[int, int, float]] = []

    @property
    def settled(self) -> int:
        """Tokens at the start that all living prefixes share, now and for ever."""
        return len(self._settled) + (self._root > 0)

    @property
    def is_full(self) -> bool:
        """Whether it is time to `compact`."""
        return self._size > FULL

    def grow(self, parents: Ints, tokens: Ints, frame: int, log_probs: Floats) -> Ints:
        """Add a node below each of `parents` (n,); returns their numbers (n,)."""
        size = self._size + len(parents)
        while size > len(self._parent):
            for name in ("_parent", "_token", *TIMES):
                old = getattr(self, name)
                setattr(self, name, np.concatenate((old, np.zeros_like(old))))
        nodes = slice(self._size, size)
        self._parent[nodes], self._token[nodes] = parents, tokens
        self._size = size
        grown = np.arange(nodes.start, nodes.stop, dtype=np.int32)
        self.move(grown, log_probs, frame)
        return grown

    def strengthen(self, nodes: Ints, log_probs: Floats, frame: int) -> None:
        """A token that is held stands at its clearest frame."""
        clearer = np.flatnonzero((log_probs > self._peak[nodes]) & (nodes > 0))
        nodes = nodes[clearer]
        self._peak[nodes], self._frame[nodes] = log_probs[clearer], frame

    def move(self, nodes: Ints, log_probs: Floats, frame: int) -> None:
        """The tokens of `nodes` stand at `frame`, behind where their parents stand now."""
        parents = self._parent[nodes]
        self._frame_before[nodes] = np.minimum(self._frame[parents], frame - 1)
        self._peak_before[nodes] = self._peak[parents]
        self._peak[nodes], self._frame[nodes] = log_probs, frame

    def settle(self, living: Ints) -> None:
        """Move what the `living` prefixes share out of the tree."""
        # a parent's number is below its children's: what is not shared is met from the top down
        nodes = set(living.tolist())
        highest = [-node for node in nodes]
        heapify(highest)
        while len(highest) > 1:
            parent = self._parent.item(-highest[0])
            if parent in nodes:
                heappop(highest)
            else:
                nodes.add(parent)
                heapreplace(highest, -parent)
        # the meeting point itself may still be strengthened: it stays
        meeting = -highest[0]
        self._settled += self._above(meeting)[::-1]
        self._root = meeting

    def path(self, node: int) -> Path:
        """The whole prefix that ends in `node`."""
        whole = self._settled + self._above(node)[::-1]
        if node:
            last = int(self._token[node]), int(self._frame[node]), float(self._peak[node])
            whole.append(last)
        if not whole:
            return (), (), ()
        tokens, frames, peaks = map(list, zip(*whole, strict=True))
        # alignments of one prefix differ: what two of them say of neighbours may be out of order
        for i in range(len(frames) - 2, -1, -1):
            frames[i] = min(frames[i], frames[i + 1] - 1)
        return tuple(tokens), tuple(frames), tuple(peaks)

    def compact(self, living: Ints) -> Ints:
        """Drop dead nodes; returns the new numbers of `living`."""
        keep = {0, self._root}
        for node in map(int, living):
            while node not in keep:
                keep.add(node)
                node = int(self._parent[node])
        old = np.array(sorted(keep))
        renumbered = np.zeros(self._size, np.int32)
        renumbered[old] = np.arange(len(old), dtype=np.int32)
        root_parent_lost = self._parent[old]
        self._parent[: len(old)] = renumbered[root_parent_lost]
        for name in ("_token", *TIMES):
            values = getattr(self, name)
            values[: len(old)] = values[old]
        self._size = len(old)
        self._root = int(renumbered[self._root])
        return renumbered[living]

    def _above(self, node: int) -> list[tuple[int, int, float]]:
        """The tokens above a node up to the root, the nearest first, as they stood before it."""
        found = []
        while node != self._root:
            frame, peak = int(self._frame_before[node]), float(self._peak_before[node])
            node = int(self._parent[node])
            if node:
                found.append((int(self._token[node]), frame, peak))
        return found
