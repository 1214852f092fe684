"""All contact with hassil: parse its templates, and interpret a text by its matcher."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import hassil
from hassil import expression as parts
from hassil.intents import (
    Intent,
    IntentData,
    RangeFractionType,
    RangeSlotList,
    SlotList,
    TextSlotList,
    TextSlotValue,
    WildcardSlotList,
)
from hassil.parser import ParseError
from hassil.recognize import RecognizeResult, recognize
from hassil.util import check_excluded_context, check_required_context

from .document import Block, Document, ListDefinition, Range, Template, Value
from .expressions import Chain, Choice, Expression, ListReference, RuleReference, Shuffle, Text
from .interpretation import Interpretation, Slot
from .spelling import number_variants, spell, spell_template

MAX_SHUFFLED = 8
"""Parts of one permutation; hassil tries all orders."""
FEW_VALUES = 200
"""Lists up to this length are handed to hassil whole."""

_PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}
_TEMPLATE_SYNTAX = re.compile(r"[(){}<>\[\]|]")


def is_template(value: str) -> bool:
    """Whether the text of a list's value is a template of its own."""
    return _TEMPLATE_SYNTAX.search(value) is not None


def parse(template: Template) -> Expression:
    """The template in the recogniser's letters, its references unresolved.

    Raises GrammarError.
    """
    fault = _fault(template.text)
    if fault:
        raise template.where.error(f"{fault} in template {template.text!r}")
    spelled = spell_template(template.text)
    if not re.search(r"[a-z{<]", spelled):
        raise template.where.error(f"empty template: nothing to say in {template.text!r}")
    try:
        return _expression(hassil.parse_sentence(spelled).expression, template)
    except (ParseError, AssertionError, ValueError) as error:
        raise template.where.error(f"template {template.text!r}: {error}") from error


def _fault(text: str) -> str | None:
    """What hassil would not explain well: brackets, and parts between them left empty."""
    open_brackets: list[tuple[str, int, set[str]]] = []
    separators: set[str] = set()
    part_is_empty = True
    characters = iter(enumerate(text, start=1))
    for column, c in characters:
        if c == "\\":
            next(characters, None)
            part_is_empty = False
        elif open_brackets and open_brackets[-1][0] in "{<" and c not in _PAIRS.values():
            if c in _PAIRS:
                return f"{c!r} at column {column} inside {open_brackets[-1][0]!r}"
            part_is_empty = False
        elif c in _PAIRS:
            open_brackets.append((c, column, separators))
            separators, part_is_empty = set(), True
        elif c in _PAIRS.values():
            if not open_brackets or _PAIRS[open_brackets[-1][0]] != c:
                return f"unexpected {c!r} at column {column}"
            outer = open_brackets.pop()[2]
            if part_is_empty:
                return f"nothing before {c!r} at column {column}"
            separators, part_is_empty = outer, False
        elif c in "|;":
            separators.add(c)
            if part_is_empty:
                return f"nothing before {c!r} at column {column}; write [a] for an optional part"
            if len(separators) > 1:
                return f"'|' and ';' side by side at column {column}; put one of them in brackets"
            part_is_empty = True
        else:
            part_is_empty = False  # a space is a part too, as in `day( |-)light`
    if open_brackets:
        return f"{open_brackets[-1][0]!r} at column {open_brackets[-1][1]} is never closed"
    return "nothing after the last '|' or ';'" if separators and part_is_empty else None


def _expression(part: parts.Expression, template: Template) -> Expression:
    if isinstance(part, parts.TextChunk):
        return Text(part.text)
    if isinstance(part, parts.ListReference):
        return ListReference(part.list_name)
    if isinstance(part, parts.RuleReference):
        return RuleReference(part.rule_name)
    if isinstance(part, parts.Permutation):
        if len(part.items) > MAX_SHUFFLED:
            raise template.where.error(f"more than {MAX_SHUFFLED} parts in one permutation")
        # hassil has put a space before and behind each part
        return Shuffle(
            tuple(
                Chain(tuple(_expression(p, template) for p in item.items[1:-1]))
                for item in part.items
                if isinstance(item, parts.Group)
            )
        )
    if not isinstance(part, parts.Group):
        raise ValueError(f"unknown part {part}")
    items = tuple(_expression(item, template) for item in part.items)
    return Choice(items) if isinstance(part, parts.Alternative) else Chain(items)


def may_fill(context: Mapping[str, Any] | None, block: Block) -> bool:
    """Whether hassil would take a value with this context in this block."""
    known = dict(context) if context else None
    return check_required_context(
        dict(block.requires), known, allow_missing_keys=True
    ) and check_excluded_context(dict(block.excludes), known)


@cache
def spoken_numbers(range_: Range) -> tuple[tuple[str, float], ...]:
    """All ways of saying the numbers of a range, with the slot's value."""
    factor = range_.multiplier
    return tuple(
        (words, number if factor is None else number * factor)
        for number in range_.numbers()
        for words in number_variants(number)
    )


class Interpreter:
    """Finds the intent and the slots of a text as hassil does."""

    def __init__(self, document: Document, context: Mapping[str, Any]) -> None:
        self._name = document.name
        self._context = dict(context)
        wildcards = {name for name, found in document.lists.items() if found.wildcard}
        intents: dict[str, Intent] = {}
        for block in document.blocks:
            data = IntentData(
                sentence_texts=[spell_template(s.text) for s in block.sentences],
                slots=dict(block.slots),
                requires_context=dict(block.requires),
                excludes_context=dict(block.excludes),
                expansion_rules={name: _sentence(rule) for name, rule in block.rules.items()},
                slot_lists={
                    name: _slot_list(found, variants=True) for name, found in block.lists.items()
                },
                wildcard_list_names=wildcards | {n for n, d in block.lists.items() if d.wildcard},
                required_keywords={spell(word) for word in block.keywords} or None,
            )
            intents.setdefault(block.intent, Intent(block.intent)).data.append(data)
        self._intents = hassil.Intents(
            language="en",
            intents=intents,
            slot_lists={
                name: _slot_list(found, variants=False)
                for name, found in document.lists.items()
                if len(found.values) <= FEW_VALUES
            },
            expansion_rules={name: _sentence(rule) for name, rule in document.rules.items()},
            skip_words=[spell(word) for word in document.skip_words],
        )
        self._long = {
            name: _LongList(found)
            for name, found in document.lists.items()
            if len(found.values) > FEW_VALUES
        }
        self._ranges = {name: found for name, found in document.lists.items() if found.range}
        self._variants: dict[str, SlotList] | None = None

    def interpret(self, text: str) -> Interpretation | None:
        """The first intent that the text fits, None if there is none."""
        text = spell(text)
        lists: dict[str, SlotList] = {
            name: found.occurring_in(text) for name, found in self._long.items()
        }
        result = self._recognize(text, lists)
        if result is None and self._ranges:
            # hassil knows one way of saying a number
            if self._variants is None:
                self._variants = {
                    name: _slot_list(found, variants=True) for name, found in self._ranges.items()
                }
            result = self._recognize(text, lists | self._variants)
        if result is None:
            return None
        slots = tuple(
            Slot(entity.name, entity.value, entity.text.strip()) for entity in result.entities_list
        )
        return Interpretation(result.intent.name, slots, self._name, text)

    def _recognize(self, text: str, lists: dict[str, SlotList]) -> RecognizeResult | None:
        return recognize(text, self._intents, slot_lists=lists, intent_context=dict(self._context))


class _LongList:
    """Finds which of very many values occur in a text, so that hassil need not try them all."""

    def __init__(self, definition: ListDefinition) -> None:
        self._definition = definition
        plain = [(spell(v.text), v) for v in definition.values if not is_template(v.text)]
        plain.sort(key=lambda pair: pair[0])
        self._texts = [text for text, _ in plain]
        self._values = [value for _, value in plain]
        self._templates = [v for v in definition.values if is_template(v.text)]

    def occurring_in(self, text: str) -> TextSlotList:
        """The values whose words occur in it, and those that are templates, in their order."""
        found: dict[int, Value] = {}
        texts = self._texts
        for start in range(len(text)):
            low = 0
            for end in range(start + 1, len(text) + 1):
                part = text[start:end]
                low = bisect_left(texts, part, low)
                if low == len(texts) or not texts[low].startswith(part):
                    break
                at = low
                while at < len(texts) and texts[at] == part:
                    found[at] = self._values[at]
                    at += 1
        values = [*found.values(), *self._templates]
        return TextSlotList(self._definition.name, _slot_values(values))


def _sentence(template: Template) -> parts.Sentence:
    return hassil.parse_sentence(spell_template(template.text), keep_text=True)


def _slot_values(values: Iterable[Value]) -> list[TextSlotValue]:
    found = []
    for value in values:
        text: parts.Expression
        if is_template(value.text):
            text = hassil.parse_sentence(spell_template(value.text)).expression
            # as hassil does with a bare template, whose text is no value
            out = None if value.out == value.text else value.out
        elif spelled := spell(value.text):
            text, out = parts.TextChunk(spelled), value.out
        else:
            continue
        context = dict(value.context) if value.context else None
        found.append(TextSlotValue(text, out, context=context))
    return found


def _slot_list(definition: ListDefinition, variants: bool) -> SlotList:
    name, range_ = definition.name, definition.range
    if definition.wildcard:
        return WildcardSlotList(name)
    if range_ is None:
        return TextSlotList(name, _slot_values(definition.values))
    if variants:
        return TextSlotList(
            name, [TextSlotValue(parts.TextChunk(t), v) for t, v in spoken_numbers(range_)]
        )
    return RangeSlotList(
        *(name, range_.start, range_.stop, range_.step),
        fraction_type=RangeFractionType(range_.fractions) if range_.fractions else None,
        multiplier=range_.multiplier,
    )
