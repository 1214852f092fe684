"""Conditions of blocks (`requires_context`, `excludes_context`) on the values of lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .document import Block, ListDefinition
from .templates import may_fill


@dataclass(frozen=True)
class _Contexts:
    """The contexts of a list's values: there are few, however many the values."""

    distinct: tuple[Mapping[str, Any] | None, ...]
    of_values: tuple[int, ...]
    keys: frozenset[str]


class Conditions:
    """Narrows lists to the values that a block may use.

    hassil checks a condition behind the match, by what the values said have added to the
    context. Here a value must carry a required key if no other list of the sentence can.
    """

    def __init__(self, context: Mapping[str, Any]) -> None:
        """`context` is known without being said."""
        self._known = {key: value for key, value in context.items() if value is not None}
        # by id: the owner of this keeps all definitions alive
        self._contexts: dict[int, _Contexts] = {}
        self._narrow: dict[tuple[int, tuple[bool, ...]], ListDefinition] = {}

    def unmet(self, block: Block, lists: Sequence[ListDefinition]) -> list[str]:
        """Keys that the block needs and nothing gives, its sentence using these lists."""
        wrong = [] if may_fill(self._known, block) else sorted(self._known)
        asked = sorted(set(block.requires) - set(self._known))
        return wrong + [key for key in asked if not self._givers(key, lists)]

    def narrowed(self, block: Block, lists: Sequence[ListDefinition]) -> dict[str, ListDefinition]:
        """Those lists, by name, that keep only some of their values in this block."""
        needed: dict[str, set[str]] = {found.name: set() for found in lists}
        for key in set(block.requires) - set(self._known):
            givers = self._givers(key, lists)
            if len(givers) == 1:
                needed[givers[0].name].add(key)
        narrow = {f.name: self._narrowed(f, block, needed[f.name]) for f in lists}
        return {
            found.name: narrow[found.name] for found in lists if narrow[found.name] is not found
        }

    def _givers(self, key: str, lists: Sequence[ListDefinition]) -> list[ListDefinition]:
        return [found for found in lists if key in self._contexts_of(found).keys]

    def _narrowed(self, found: ListDefinition, block: Block, needed: set[str]) -> ListDefinition:
        contexts = self._contexts_of(found)
        suits = tuple(
            may_fill(context, block) and needed <= set(context or ())
            for context in contexts.distinct
        )
        if all(suits):
            return found
        key = (id(found), suits)
        if key not in self._narrow:
            pairs = zip(found.values, contexts.of_values, strict=True)
            values = tuple(value for value, i in pairs if suits[i])
            self._narrow[key] = ListDefinition(found.name, found.where, values)
        return self._narrow[key]

    def _contexts_of(self, found: ListDefinition) -> _Contexts:
        if id(found) not in self._contexts:
            ids: dict[str, int] = {}
            distinct: list[Mapping[str, Any] | None] = []
            of_values = []
            for value in found.values:
                i = ids.setdefault(repr(value.context) if value.context else "", len(distinct))
                if i == len(distinct):
                    distinct.append(value.context)
                of_values.append(i)
            keys = frozenset(key for context in distinct for key in context or ())
            self._contexts[id(found)] = _Contexts(tuple(distinct), tuple(of_values), keys)
        return self._contexts[id(found)]
