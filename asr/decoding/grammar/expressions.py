"""The parts of a sentence template, and what can be told of them without a search."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TypeAlias

MAX_JUNCTIONS = 1_000_000
"""Words that may arise where two parts meet without a space, as in `fan[s]`."""


@dataclass(frozen=True)
class Text:
    """Letters and spaces; a space at an end separates words, none joins them."""

    text: str


@dataclass(frozen=True)
class Chain:
    """All items, in this order."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Choice:
    """One of the items; an optional part has an empty `Text` among them."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Shuffle:
    """All items, in any order."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class ListReference:
    """`{name}` or `{name:slot}`, before it is resolved."""

    name: str


@dataclass(frozen=True)
class RuleReference:
    """`<name>`, before it is resolved."""

    name: str


@dataclass(frozen=True, eq=False)
class Strings:
    """One of many plain texts, sorted and distinct: the values of a list or a range."""

    texts: Sequence[str] = field(repr=False)
    count: int
    """How many values they stand for: a number may be said in several ways."""


@dataclass(frozen=True, eq=False)
class Wildcard:
    """Any words, at least one."""


@dataclass(frozen=True, eq=False)
class Definition:
    """A body that several places share: it is compiled once and called."""

    name: str
    body: Expression


Expression: TypeAlias = (
    Text
    | Chain
    | Choice
    | Shuffle
    | ListReference
    | RuleReference
    | Strings
    | Wildcard
    | Definition
)


def references(expression: Expression) -> Iterable[ListReference | RuleReference]:
    """All unresolved references, in reading order."""
    if isinstance(expression, ListReference | RuleReference):
        yield expression
    elif isinstance(expression, Chain | Choice | Shuffle):
        for item in expression.items:
            yield from references(item)


class Counter:
    """Counts the expansions of resolved expressions; those of a definition once."""

    def __init__(self) -> None:
        self._known: dict[Definition, int | None] = {}

    def count(self, expression: Expression) -> int | None:
        """How many ways there are through it (not all distinct); None if no end of them."""
        if isinstance(expression, Strings):
            return expression.count
        if isinstance(expression, Wildcard):
            return None
        if isinstance(expression, Definition):
            if expression not in self._known:
                self._known[expression] = self.count(expression.body)
            return self._known[expression]
        if not isinstance(expression, Chain | Choice | Shuffle):
            return 1
        total = 0 if isinstance(expression, Choice) else 1
        for item in expression.items:
            ways = self.count(item)
            if ways is None:
                return None
            total = total + ways if isinstance(expression, Choice) else total * ways
        if isinstance(expression, Shuffle):
            total *= math.factorial(len(expression.items))
        return total


@dataclass(frozen=True)
class Forms:
    """The words of an expression, those at its ends apart: a neighbour may lengthen them."""

    solid: frozenset[str] = frozenset()
    """Expansions without any space, both ends at once."""
    first: frozenset[str] = frozenset()
    last: frozenset[str] = frozenset()
    inner: frozenset[str] = frozenset()

    def __or__(self, other: Forms) -> Forms:
        return Forms(
            self.solid | other.solid,
            self.first | other.first,
            self.last | other.last,
            self.inner | other.inner,
        )

    def __add__(self, other: Forms) -> Forms:
        return Forms(
            _joined(self.solid, other.solid),
            self.first | _joined(self.solid, other.first),
            other.last | _joined(self.last, other.solid),
            self.inner | other.inner | _joined(self.last, other.first),
        )

    @property
    def words(self) -> frozenset[str]:
        """All of them, as words of a whole sentence."""
        return (self.solid | self.first | self.last | self.inner) - {""}


def _joined(left: frozenset[str], right: frozenset[str]) -> frozenset[str]:
    if left == {""}:
        return right
    if right == {""}:
        return left
    if len(left) * len(right) > MAX_JUNCTIONS:
        raise ValueError(f"more than {MAX_JUNCTIONS:,} words where parts meet without a space")
    return frozenset(a + b for a, b in product(left, right))


_NOTHING = Forms(solid=frozenset({""}))
_GAP = Forms(first=frozenset({""}), last=frozenset({""}))


class WordFinder:
    """Finds every word that resolved expressions can hold; those of a definition once."""

    def __init__(self) -> None:
        self._known: dict[Definition, Forms] = {}

    def forms(self, expression: Expression) -> Forms:
        """Its words. A wildcard has none that could be listed."""
        if isinstance(expression, Text):
            return _forms_of_texts((expression.text,))
        if isinstance(expression, Strings):
            return _forms_of_texts(expression.texts)
        if isinstance(expression, Definition):
            if expression not in self._known:
                self._known[expression] = self.forms(expression.body)
            return self._known[expression]
        if isinstance(expression, Chain):
            total = _NOTHING
            for item in expression.items:
                total = total + self.forms(item)
            return total
        if isinstance(expression, Choice):
            total = Forms()
            for item in expression.items:
                total = total | self.forms(item)
            return total
        if isinstance(expression, Shuffle):
            total = Forms()
            for item in expression.items:
                total = total | (_GAP + self.forms(item) + _GAP)
            return total
        return _GAP


def _forms_of_texts(texts: Iterable[str]) -> Forms:
    solid, first, last, inner = set(), set(), set(), set()
    for text in texts:
        head, *middle = text.split(" ")
        if middle:
            first.add(head)
            last.add(middle.pop())
            inner.update(middle)
        else:
            solid.add(head)
    return Forms(frozenset(solid), frozenset(first), frozenset(last), frozenset(inner))


def sample(expression: Expression, rng: random.Random) -> str:
    """One expansion, each choice at random; a wildcard becomes "something"."""
    if isinstance(expression, Text):
        return expression.text
    if isinstance(expression, Strings):
        return rng.choice(expression.texts)
    if isinstance(expression, Wildcard):
        return "something"
    if isinstance(expression, Definition):
        return sample(expression.body, rng)
    if isinstance(expression, Chain):
        return "".join(sample(item, rng) for item in expression.items)
    if isinstance(expression, Choice):
        return sample(rng.choice(expression.items), rng)
    if isinstance(expression, Shuffle):
        parts = [sample(item, rng) for item in rng.sample(expression.items, len(expression.items))]
        return f" {'  '.join(parts)} "
    raise TypeError(f"not resolved: {expression}")
