"""A command grammar as written: blocks of sentences, rules and lists, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rapidfuzz import process

from asr.errors import GrammarError

MAX_RANGE = 100_000
"""Numbers in one range."""


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file."""

    path: str
    line: int

    def error(self, reason: str) -> GrammarError:
        """The exception for a mistake here."""
        return GrammarError(self.path, self.line, reason)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Template:
    """A sentence, or the body of a rule."""

    text: str
    where: Where


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a list; `out` None stands for the words as spoken."""

    text: str
    where: Where
    out: Any = None
    context: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Range:
    """Numbers from `start` to `stop`, both included."""

    start: int
    stop: int
    step: int = 1
    fractions: str | None = None
    multiplier: float | None = None

    def numbers(self) -> list[float]:
        """All of them, as hassil counts: a fraction may follow the last one too."""
        parts = {"halves": [0.5], "tenths": [i / 10 for i in range(1, 10)]}
        steps = [0, *parts.get(self.fractions or "", [])]
        return [n + part for n in range(self.start, self.stop + 1, self.step) for part in steps]


@dataclass(frozen=True)
class ListDefinition:
    """What `{name}` stands for: values, or a range, or any words."""

    name: str
    where: Where
    values: tuple[Value, ...] = field(default=(), repr=False)
    range: Range | None = None
    wildcard: bool = False


@dataclass(frozen=True)
class Block:
    """Sentences of one intent that share slots and conditions."""

    intent: str
    sentences: tuple[Template, ...]
    rules: Mapping[str, Template] = field(default_factory=dict)
    lists: Mapping[str, ListDefinition] = field(default_factory=dict)
    slots: Mapping[str, Any] = field(default_factory=dict)
    requires: Mapping[str, Any] = field(default_factory=dict)
    excludes: Mapping[str, Any] = field(default_factory=dict)
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """One grammar: the contents of one file, or of several merged."""

    name: str
    blocks: tuple[Block, ...]
    rules: Mapping[str, Template]
    lists: Mapping[str, ListDefinition]
    skip_words: tuple[str, ...] = ()


def checked_range(range_: Range, what: str, where: Where) -> Range:
    """The same, unless no number or too many lie in it."""
    if range_.step <= 0:
        raise where.error(f"the step of {what} must be above 0, got {range_.step}")
    if range_.start > range_.stop:
        raise where.error(f"{what} goes from {range_.start} to {range_.stop}: nothing in between")
    size = (range_.stop - range_.start) // range_.step + 1
    if size * {None: 1, "halves": 2, "tenths": 10}[range_.fractions] > MAX_RANGE:
        raise where.error(f"{what} holds more than {MAX_RANGE:,} numbers")
    return range_


def near(name: str, known: Iterable[str]) -> str:
    """A hint for a message, if a known name is much like this one."""
    best = process.extractOne(name, list(known), score_cutoff=60)
    return f"; did you mean {best[0]!r}?" if best else ""
