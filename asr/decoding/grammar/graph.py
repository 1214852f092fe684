"""Compile expressions to a graph of letters whose shared parts are called, not copied.

A fragment is a part with one way in and one way out. Lists and rules become fragments of
their own, which others call and which return to where they were called from; so the graph
is no larger than the grammar as written. The values of a list are searched in place, as
intervals of the sorted texts that share a beginning: a trie that costs no memory.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from .expressions import (
    Chain,
    Choice,
    Definition,
    Expression,
    Shuffle,
    Strings,
    Text,
    Wildcard,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(eq=False)
class Fragment:
    """A part of the graph that can be called."""

    start: int
    end: int
    rank: int = 0
    """Above the ranks of all fragments that it calls."""
    may_be_empty: bool = False
    """Whether nothing at all leads through it."""
    may_be_space: bool = False
    """Whether spaces alone lead through it."""


@dataclass(slots=True)
class _Node:
    letters: list[tuple[str, int]] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)
    spaces: list[int] = field(default_factory=list)
    calls: list[tuple[Fragment, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Moves:
    """All that can happen at a node before the next letter, inside its fragment."""

    letters: tuple[tuple[str, int], ...]
    spaces: tuple[int, ...]
    calls: tuple[tuple[Fragment, int], ...]
    """Fragments to enter, and where to go on behind them."""
    is_final: bool
    """Whether the fragment's end is reached."""


class Graph:
    """Nodes are ints; those inside lists come to be when a search reaches them."""

    def __init__(self) -> None:
        self._nodes: list[_Node] = []
        self._ends: set[int] = set()
        self._fragments: dict[Definition, Fragment] = {}
        self._tries: list[Sequence[str]] = []
        self._trie_nodes: dict[int, tuple[int, int, int, int]] = {}  # (trie, low, high, depth)
        self._trie_ids: dict[tuple[int, int, int], int] = {}
        self._moves: tuple[dict[int, Moves], dict[int, Moves]] = ({}, {})
        self._next_trie_id = -2  # counts down: nodes of tries are negative
        self._rank = 0

    def node(self) -> int:
        """A new node."""
        self._nodes.append(_Node())
        return len(self._nodes) - 1

    def silent(self, source: int, target: int) -> None:
        """Let `target` be reached without a letter."""
        self._nodes[source].silent.append(target)

    def space(self, source: int, target: int) -> None:
        """Let a space, of any length, lead to `target`."""
        self._nodes[source].spaces.append(target)

    def mark_end(self, node: int) -> None:
        """Let a fragment end at a node."""
        self._ends.add(node)

    def add(self, expression: Expression, source: int, target: int) -> None:
        """Let the expression lead from `source` to `target`."""
        if isinstance(expression, Text):
            at = source
            for character in expression.text:
                following = self.node()
                self._step(at, character, following)
                at = following
            self.silent(at, target)
        elif isinstance(expression, Chain):
            at = source
            for item in expression.items:
                following = self.node()
                self.add(item, at, following)
                at = following
            self.silent(at, target)
        elif isinstance(expression, Choice):
            for item in expression.items:
                self.add(item, source, target)
        elif isinstance(expression, Shuffle):
            self._add_shuffle(expression, source, target)
        elif isinstance(expression, Definition):
            self._nodes[source].calls.append((self._fragment(expression), target))
        elif isinstance(expression, Strings | Wildcard):
            whole = Definition("", expression)
            self._nodes[source].calls.append((self._fragment(whole), target))
        else:
            raise TypeError(f"not resolved: {expression}")

    def _step(self, source: int, character: str, target: int) -> None:
        if character == " ":
            self.space(source, target)
        else:
            self._nodes[source].letters.append((character, target))

    def _add_shuffle(self, shuffle: Shuffle, source: int, target: int) -> None:
        parts = [Definition("", Chain((Text(" "), item, Text(" ")))) for item in shuffle.items]
        everything = (1 << len(parts)) - 1
        # one node for each set of parts already said
        nodes = {0: source, everything: target}
        for said in range(1, everything):
            nodes[said] = self.node()
        for said in range(everything):
            for i, part in enumerate(parts):
                if not said >> i & 1:
                    self.add(part, nodes[said], nodes[said | 1 << i])

    def _fragment(self, definition: Definition) -> Fragment:
        if definition in self._fragments:
            return self._fragments[definition]
        body = definition.body
        if isinstance(body, Strings):
            self._tries.append(body.texts)
            start = self._trie_node(len(self._tries) - 1, 0, len(body.texts), 0)
            fragment = Fragment(start, start)
        elif isinstance(body, Wildcard):
            fragment = self._wildcard()
        else:
            fragment = Fragment(self.node(), self.node())
            self.add(body, fragment.start, fragment.end)
            self._ends.add(fragment.end)
            fragment.may_be_empty, fragment.may_be_space = self._wordless(fragment)
        # callees were finished before, so the order of finishing ranks them
        self._rank += 1
        fragment.rank = self._rank
        self._fragments[definition] = fragment
        return fragment

    def _wildcard(self) -> Fragment:
        outside, inside, quoted, end = (self.node() for _ in range(4))
        for letter in LETTERS:
            for node in (outside, inside, quoted):
                self._step(node, letter, inside)
        self._step(inside, "'", quoted)
        self.space(inside, outside)
        self.silent(inside, end)
        self._ends.add(end)
        return Fragment(outside, end)

    def _wordless(self, fragment: Fragment) -> tuple[bool, bool]:
        seen: set[tuple[int, bool]] = set()
        todo = [(fragment.start, False)]
        while todo:
            node, spaced = step = todo.pop()
            if step in seen:
                continue
            seen.add(step)
            found = self._nodes[node]
            todo += [(target, spaced) for target in found.silent]
            todo += [(target, True) for target in found.spaces]
            for callee, target in found.calls:
                if callee.may_be_empty:
                    todo.append((target, spaced))
                if callee.may_be_space:
                    todo.append((target, True))
        return (fragment.end, False) in seen, (fragment.end, True) in seen

    def moves(self, node: int, spaces_are_silent: bool) -> Moves:
        """What can happen at a node, computed once.

        Right after a boundary further spaces mean nothing, `spaces_are_silent`.
        """
        known = self._moves[spaces_are_silent]
        if node not in known:
            find = self._moves_of_node if node >= 0 else self._moves_of_trie_node
            known[node] = find(node, spaces_are_silent)
        return known[node]

    def _moves_of_node(self, node: int, spaces_are_silent: bool) -> Moves:
        seen: set[int] = set()
        letters: dict[tuple[str, int], None] = {}
        spaces: dict[int, None] = {}
        calls: dict[tuple[Fragment, int], None] = {}
        todo = [node]
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            found = self._nodes[at]
            letters |= dict.fromkeys(found.letters)
            calls |= dict.fromkeys(found.calls)
            todo += found.silent
            spaced = list(found.spaces)
            for callee, target in found.calls:
                # a call without a letter is passed here; so none returns before one was read
                if callee.may_be_empty:
                    todo.append(target)
                if callee.may_be_space:
                    spaced.append(target)
            if spaces_are_silent:
                todo += spaced
            else:
                spaces |= dict.fromkeys(spaced)
        is_final = not self._ends.isdisjoint(seen)
        return Moves(tuple(letters), tuple(spaces), tuple(calls), is_final)

    def _trie_node(self, trie: int, low: int, high: int, depth: int) -> int:
        key = (trie, low, depth)
        if key not in self._trie_ids:
            self._trie_ids[key] = self._next_trie_id
            self._trie_nodes[self._next_trie_id] = (trie, low, high, depth)
            self._next_trie_id -= 1
        return self._trie_ids[key]

    def _moves_of_trie_node(self, node: int, spaces_are_silent: bool) -> Moves:
        trie, low, high, depth = self._trie_nodes[node]
        texts = self._tries[trie]
        is_final = len(texts[low]) == depth
        if is_final:
            low += 1
        letters: list[tuple[str, int]] = []
        spaces: list[int] = []
        while low < high:
            beginning = texts[low][: depth + 1]
            # every letter sorts below the tilde
            stop = bisect_left(texts, beginning + "~", low, high)
            child = self._trie_node(trie, low, stop, depth + 1)
            if beginning[-1] == " ":
                spaces.append(child)
            else:
                letters.append((beginning[-1], child))
            low = stop
        return Moves(tuple(letters), tuple(spaces), (), is_final)
