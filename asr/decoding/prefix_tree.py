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
            for name in ("_parent", "_token", "_frame", "_peak"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate((old, np.zeros_like(old))))
        nodes = slice(self._size, size)
        self._parent[nodes], self._token[nodes] = parents, tokens
        self._frame[nodes], self._peak[nodes] = frame, log_probs
        self._size = size
        return np.arange(nodes.start, nodes.stop, dtype=np.int32)

    def strengthen(self, nodes: Ints, log_probs: Floats, frame: int) -> None:
        """A token that is held stands at its clearest frame."""
        clearer = np.flatnonzero((log_probs > self._peak[nodes]) & (nodes > 0))
        if len(clearer):
            self.move(nodes[clearer], log_probs[clearer], frame)

    def move(self, nodes: Ints, log_probs: Floats, frame: int) -> None:
        """The tokens of `nodes` stand at `frame`."""
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
        path = []
        at = meeting = -highest[0]
        while at != self._root:
            at = int(self._parent[at])
            path.append(at)
        self._settled += [self._read(node) for node in reversed(path) if node]
        self._root = meeting

    def path(self, node: int) -> Path:
        """The whole prefix that ends in `node`."""
        nodes = []
        while node != self._root:
            nodes.append(self._read(node))
            node = int(self._parent[node])
        if node:
            nodes.append(self._read(node))
        whole = self._settled + nodes[::-1]
        tokens, frames, peaks = zip(*whole, strict=True) if whole else ((), (), ())
        return tokens, frames, peaks

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
        for values in (self._token, self._frame, self._peak):
            values[: len(old)] = values[old]
        self._size = len(old)
        self._root = int(renumbered[self._root])
        return renumbered[living]

    def _read(self, node: int) -> tuple[int, int, float]:
        return int(self._token[node]), int(self._frame[node]), float(self._peak[node])
