"""Follow a graph letter by letter without expanding it: a deterministic automaton made lazily.

A state stands for all places of the graph where a text can lead. A place is a node together
with where to return to from its fragment; as many callers wait for the same fragment, these
ways back are shared sets (a graph-structured stack): inside a list of names there is one
place, however many sentences use the list.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from .expressions import Text
from .graph import Fragment, Graph
from .resolution import Resolved

BOUNDARY = " "
ALPHABET = BOUNDARY + "'abcdefghijklmnopqrstuvwxyz"
"""What the automaton reads; a row has one target for each."""
_INDEX = {character: i for i, character in enumerate(ALPHABET)}

DEAD = -1
_ACCEPT = -1  # in place of a node: the way back from a whole sentence

Places: TypeAlias = dict[int, int]
"""Node -> its ways back."""
_Key: TypeAlias = tuple[bool, tuple[tuple[int, int], ...]]


class Automaton:
    """States are ints from 0, the start. Rows are computed when first asked for.

    The caches grow without a lock: one thread at a time.
    """

    def __init__(self, graph: Graph, start: int, fillers: frozenset[int] = frozenset()) -> None:
        """`start` is a node; `fillers` are nodes behind a whole sentence from where only words
        that mean nothing, as "please", go on."""
        self._graph = graph
        self._fillers = fillers
        self._ways: dict[frozenset[tuple[int, int]], int] = {}
        self._ways_by_id: list[frozenset[tuple[int, int]]] = []
        self._ids: dict[_Key, int] = {}
        self._keys: list[_Key] = []
        self._rows: list[list[int] | None] = []
        self._accepts: list[bool] = []
        self._continues: list[bool] = []
        top = self._way(frozenset({(_ACCEPT, 0)}))
        self._state(True, {start: top})

    def __len__(self) -> int:
        return len(self._keys)

    def row(self, state: int) -> list[int]:
        """The next state for each character of ALPHABET, DEAD where there is none."""
        row = self._rows[state]
        return self._compute(state) if row is None else row

    def accepts(self, state: int) -> bool:
        """Whether a whole sentence leads here."""
        self.row(state)
        return self._accepts[state]

    def continues(self, state: int) -> bool:
        """Whether a longer sentence leads through here.

        Fillers do not count, nor at the end of a sentence the rest of a longer word ("timers").
        """
        self.row(state)
        return self._continues[state]

    def _way(self, members: frozenset[tuple[int, int]]) -> int:
        found = self._ways.get(members)
        if found is None:
            found = self._ways[members] = len(self._ways_by_id)
            self._ways_by_id.append(members)
        return found

    def _put(self, places: Places, node: int, way: int) -> None:
        old = places.setdefault(node, way)
        if old != way:
            places[node] = self._way(self._ways_by_id[old] | self._ways_by_id[way])

    def _state(self, at_word_start: bool, places: Places) -> int:
        key = (at_word_start, tuple(sorted(places.items())))
        state = self._ids.get(key)
        if state is None:
            state = self._ids[key] = len(self._keys)
            self._keys.append(key)
            self._rows.append(None)
            self._accepts.append(False)
            self._continues.append(True)
        return state

    def _compute(self, state: int) -> list[int]:
        at_word_start, kernel = self._keys[state]
        places = dict(kernel)
        row = [DEAD] * len(ALPHABET)
        letters, spaced, accepts = self._expand(places, at_word_start)
        for letter, targets in letters.items():
            row[_INDEX[letter]] = self._state(False, targets)
        if not at_word_start:
            beyond: Mapping[str, Places] = {}
            if spaced:
                # a sentence may end in a space, but no boundary leads to nothing
                beyond, _, also_accepts = self._expand(spaced, True)
                accepts = accepts or also_accepts
            if beyond:
                row[0] = self._state(True, spaced)
            if letters and not accepts:
                self._continues[state] = True
            elif self._fillers.isdisjoint(spaced):
                self._continues[state] = bool(beyond)
            else:
                others = {n: way for n, way in spaced.items() if n not in self._fillers}
                self._continues[state] = bool(self._expand(others, True)[0])
            self._accepts[state] = accepts
        self._rows[state] = row
        return row

    def _expand(
        self, kernel: Places, at_word_start: bool
    ) -> tuple[dict[str, Places], Places, bool]:
        """Where each letter leads, where a space leads, and whether a sentence ends here."""
        moves_at = self._graph.moves
        letters: dict[str, Places] = {}
        spaced: Places = {}
        waiting: dict[Fragment, set[tuple[int, int]]] = {}
        order: list[tuple[int, int, Fragment]] = []
        accepts = False

        def proceed(node: int, way: int) -> bool:
            moves = moves_at(node, at_word_start)
            for letter, target in moves.letters:
                targets = letters.get(letter)
                if targets is None:
                    letters[letter] = {target: way}
                else:
                    self._put(targets, target, way)
            for target in moves.spaces:
                self._put(spaced, target, way)
            for fragment, target in moves.calls:
                callers = waiting.get(fragment)
                if callers is None:
                    waiting[fragment] = {(target, way)}
                    heapq.heappush(order, (-fragment.rank, len(order), fragment))
                else:
                    callers.add((target, way))
            return moves.is_final

        # return from what a letter has finished, and from what that finishes in turn
        todo = list(kernel.items())
        seen = set(todo)
        while todo:
            node, way = todo.pop()
            if node == _ACCEPT:
                accepts = True
            elif proceed(node, way):
                fresh = self._ways_by_id[way] - seen
                seen |= fresh
                todo += fresh
        # enter fragments, callers before callees, so that all callers of each are known; an
        # end found here was passed by its caller (see Graph.moves)
        while order:
            fragment = heapq.heappop(order)[2]
            proceed(fragment.start, self._way(frozenset(waiting[fragment])))
        return letters, spaced, accepts


def compile_automaton(
    grammars: Iterable[Resolved], phrases: Sequence[str], bare: bool
) -> Automaton:
    """The sentences of all grammars, behind a phrase each and, if `bare`, without one too."""
    graph = Graph()
    start, first, woken = graph.node(), graph.node(), graph.node()
    for phrase in phrases:
        graph.add(Text(phrase), start, woken)
    graph.mark_end(woken)
    graph.space(woken, first)
    if bare:
        graph.silent(start, first)
    fillers = set()
    for grammar in grammars:
        before, behind = graph.node(), graph.node()
        graph.silent(first, before)
        graph.mark_end(behind)
        for sentence in grammar.sentences:
            graph.add(sentence.expression, before, behind)
        if grammar.skip_words:
            said, filler = graph.node(), graph.node()
            graph.add(grammar.skip_words, before, said)
            graph.space(said, before)
            graph.space(behind, filler)
            graph.add(grammar.skip_words, filler, behind)
            fillers.add(filler)
    return Automaton(graph, start, frozenset(fillers))
