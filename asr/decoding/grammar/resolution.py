"""Resolve the references of a grammar: parse all templates, and join lists and rules to them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .conditions import Conditions
from .document import (
    Block,
    Document,
    ListDefinition,
    Range,
    Template,
    Value,
    Where,
    checked_range,
    near,
)
from .expressions import (
    Chain,
    Choice,
    Definition,
    Expression,
    ListReference,
    RuleReference,
    Shuffle,
    Strings,
    Wildcard,
    references,
)
from .spelling import spell, unspoken
from .templates import is_template, parse, spoken_numbers

_INLINE_RANGE = re.compile(r"(\d+)\.\.(\d+)(?:,(\d+))?")


@dataclass(frozen=True)
class ResolvedSentence:
    """One template, ready to be compiled."""

    intent: str
    expression: Expression


@dataclass(frozen=True)
class Resolved:
    """A grammar without names: its sentences, and what was noticed on the way."""

    document: Document
    """As written, with inline ranges among the lists."""
    sentences: tuple[ResolvedSentence, ...]
    skip_words: Expression | None
    warnings: tuple[str, ...]


def resolve(document: Document, context: Mapping[str, Any]) -> Resolved:
    """Join everything; `context` is what is known where the grammar is used, as the area.

    Raises GrammarError for unknown lists and rules, rules that need themselves, and templates
    that cannot be parsed.
    """
    return _Resolver(document, context).resolve()


class _Scope:
    """What names mean in some blocks; all blocks without names and conditions share one."""

    def __init__(
        self,
        rules: Mapping[str, Expression],
        lists: dict[str, ListDefinition],
        special: frozenset[str] = frozenset(),
    ) -> None:
        self.rules = rules
        self.lists = lists
        self.special = special
        """Marked names, `{list}` or `<rule>`, that mean something else outside."""
        self.definitions: dict[str, Definition | None] = {}


class _Resolver:
    def __init__(self, document: Document, context: Mapping[str, Any]) -> None:
        self._document = document
        self._lists = dict(document.lists)
        self._warnings: list[str] = []
        self._left_out: dict[str, list[Where]] = {}
        self._values: dict[int, Definition | None] = {}  # by id of the list's definition
        self._warned: set[Where] = set()
        rules = {name: parse(rule) for name, rule in document.rules.items()}
        self._global = _Scope(rules, self._lists)
        self._check_rules(document.rules, self._global)
        self._scopes: dict[object, _Scope] = {}
        self._conditions = Conditions(context)
        self._spellings: dict[str, str] = {}

    def resolve(self) -> Resolved:
        sentences = []
        for block in self._document.blocks:
            outer = self._block_scope(block)
            for template in block.sentences:
                expression = parse(template)
                self._check(expression, template.where, outer)
                scope = self._fitting_scope(block, expression, template.where, outer)
                if scope is None:
                    continue
                resolved = self._resolve(expression, scope)
                if resolved is None:
                    self._leave_out(template.where, "for which a list has no fitting value")
                else:
                    sentences.append(ResolvedSentence(block.intent, resolved))
        for reason, places in self._left_out.items():
            self._warn(places[0], f"left out {len(places)} sentences {reason}")
        skipped = sorted({spelled for w in self._document.skip_words if (spelled := spell(w))})
        lists = {**self._document.lists, **self._lists}
        document = Document(
            *(self._document.name, self._document.blocks, self._document.rules, lists),
            self._document.skip_words,
        )
        words = Strings(tuple(skipped), len(skipped)) if skipped else None
        return Resolved(document, tuple(sentences), words, tuple(self._warnings))

    def _warn(self, where: Where, reason: str) -> None:
        if where not in self._warned:
            self._warned.add(where)
            self._warnings.append(f"{where}: {reason}")

    def _leave_out(self, where: Where, reason: str) -> None:
        self._left_out.setdefault(reason, []).append(where)

    def _block_scope(self, block: Block) -> _Scope:
        if not block.rules and not block.lists:
            return self._global
        rules = {name: parse(rule) for name, rule in block.rules.items()}
        changed = {f"<{name}>" for name in rules} | {f"{{{name}}}" for name in block.lists}
        scope = _Scope(
            {**self._global.rules, **rules}, {**self._lists, **block.lists}, frozenset(changed)
        )
        self._check_rules(block.rules, scope)
        return scope

    def _fitting_scope(
        self, block: Block, expression: Expression, where: Where, outer: _Scope
    ) -> _Scope | None:
        """The scope with only the values that the block's conditions allow.

        None if nothing that is known or said can meet a condition.
        """
        if not block.requires and not block.excludes:
            return outer
        lists = [outer.lists[name] for name in sorted(self._reachable(expression, outer))]
        if unmet := self._conditions.unmet(block, lists):
            self._leave_out(where, f"whose context ({', '.join(unmet)}) is not known")
            return None
        changed = self._conditions.narrowed(block, lists)
        if not changed:
            return outer
        key = (id(outer), tuple(map(id, changed.values())))
        if key not in self._scopes:
            special = outer.special | {f"{{{name}}}" for name in changed}
            self._scopes[key] = _Scope(outer.rules, {}, special)
        # anew each time: a sentence may name a range that none before it did
        self._scopes[key].lists.update({**outer.lists, **changed})
        return self._scopes[key]

    def _check(self, expression: Expression, where: Where, scope: _Scope) -> None:
        """Whether all that an expression names exists."""
        for reference in references(expression):
            name = reference.name
            if isinstance(reference, RuleReference):
                if name not in scope.rules:
                    raise where.error(f"unknown rule <{name}>{near(name, scope.rules)}")
            elif name not in scope.lists:
                match = _INLINE_RANGE.fullmatch(name)
                if not match:
                    raise where.error(f"unknown list {{{name}}}{near(name, scope.lists)}")
                start, stop, step = match.groups()
                range_ = Range(int(start), int(stop), int(step or 1))
                checked_range(range_, f"range {{{name}}}", where)
                self._lists[name] = ListDefinition(name, where, range=range_)
                if scope is not self._global:
                    scope.lists[name] = self._lists[name]

    def _check_rules(self, rules: Mapping[str, Template], scope: _Scope) -> None:
        done: set[str] = set()

        def visit(name: str, trail: tuple[str, ...]) -> None:
            where = rules[name].where if name in rules else self._document.rules[name].where
            if name in trail:
                way = " -> ".join(f"<{step}>" for step in (*trail[trail.index(name) :], name))
                raise where.error(f"rule <{name}> needs itself: {way}")
            if name in done:
                return
            self._check(scope.rules[name], where, scope)
            for reference in references(scope.rules[name]):
                if isinstance(reference, RuleReference):
                    visit(reference.name, (*trail, name))
            done.add(name)

        for name in rules:
            visit(name, ())

    def _reachable(self, expression: Expression, scope: _Scope) -> set[str]:
        """Names of the lists that an expression uses, through rules too."""
        found: set[str] = set()
        seen: set[str] = set()
        todo = [expression]
        while todo:
            for reference in references(todo.pop()):
                if isinstance(reference, ListReference):
                    found.add(reference.name)
                elif reference.name not in seen:
                    seen.add(reference.name)
                    todo.append(scope.rules[reference.name])
        return found

    def _is_special(self, name: str, scope: _Scope) -> bool:
        """Whether a rule means something else in this scope, by itself or by what it names."""
        if f"<{name}>" in scope.special:
            return True
        return any(
            f"{{{reference.name}}}" in scope.special
            if isinstance(reference, ListReference)
            else self._is_special(reference.name, scope)
            for reference in references(scope.rules[name])
        )

    def _resolve(self, expression: Expression, scope: _Scope) -> Expression | None:
        """The same without names; None if it cannot be said, for want of values."""
        if isinstance(expression, RuleReference):
            return self._rule(expression.name, scope)
        if isinstance(expression, ListReference):
            return self._list(scope.lists[expression.name])
        if isinstance(expression, Chain | Shuffle):
            items = [self._resolve(item, scope) for item in expression.items]
            kept = tuple(item for item in items if item is not None)
            return type(expression)(kept) if len(kept) == len(items) else None
        if isinstance(expression, Choice):
            options = [self._resolve(item, scope) for item in expression.items]
            kept = tuple(option for option in options if option is not None)
            return Choice(kept) if kept else None
        return expression

    def _rule(self, name: str, scope: _Scope) -> Definition | None:
        if scope is not self._global and not self._is_special(name, scope):
            scope = self._global
        if name not in scope.definitions:
            body = self._resolve(scope.rules[name], scope)
            scope.definitions[name] = Definition(f"<{name}>", body) if body else None
        return scope.definitions[name]

    def _list(self, found: ListDefinition) -> Definition | None:
        key = id(found)
        if key not in self._values:
            body = self._list_body(found)
            self._values[key] = Definition(f"{{{found.name}}}", body) if body else None
        return self._values[key]

    def _list_body(self, found: ListDefinition) -> Expression | None:
        if found.wildcard:
            return Wildcard()
        if found.range:
            spoken = {words for words, _ in spoken_numbers(found.range)}
            return Strings(tuple(sorted(spoken)), len(found.range.numbers()))
        options = [*self._templates(found.values)]
        texts = self._plain(found.values)
        if texts:
            options.append(Strings(tuple(texts), len(texts)))
        return Choice(tuple(options)) if options else None

    def _plain(self, values: Iterable[Value]) -> list[str]:
        texts = set()
        for value in values:
            if is_template(value.text):
                continue
            spelled = self._spellings.get(value.text)
            if spelled is None:
                spelled = self._spellings[value.text] = spell(value.text)
            if not spelled:
                self._warn(value.where, f"value {value.text!r} left out: nothing of it can be said")
                continue
            texts.add(spelled)
            if not value.text.isascii() and (lost := unspoken(value.text)):
                self._warn(value.where, f"value {value.text!r}: {lost!r} is left out")
        return sorted(texts)

    def _templates(self, values: Iterable[Value]) -> Iterable[Expression]:
        for value in values:
            if is_template(value.text):
                expression = parse(Template(value.text, value.where))
                if next(iter(references(expression)), None):
                    raise value.where.error(
                        f"value {value.text!r}: a value cannot hold lists or rules"
                    )
                yield expression
