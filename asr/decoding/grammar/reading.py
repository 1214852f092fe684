"""Read grammars from Home Assistant's custom-sentence files, so that mistakes have a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from asr.errors import GrammarError

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

_TOP_KEYS = {
    *("language", "settings", "intents", "lists", "expansion_rules", "skip_words", "responses"),
}
_BLOCK_KEYS = {
    *("sentences", "slots", "response", "requires_context", "excludes_context", "lists"),
    *("expansion_rules", "metadata", "required_keywords", "inferred_domain", "name_domains"),
    "settings",
}
_INTENT_KEYS = {"data"}
_LIST_KINDS = {"values", "range", "wildcard"}
_RANGE_KEYS = {
    *("from", "to", "step", "type", "fractions", "multiplier", "digits", "words"),
    "words_language",
}
_VALUE_KEYS = {"in", "out", "context", "metadata"}


def read_sources(path: Path) -> list[tuple[str, str]]:
    """(path, text) of a file, or of all YAML and JSON files of a folder in order of name."""
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml", ".json"))
        if not files:
            raise GrammarError(path, None, "no .yaml or .json file in this folder")
    else:
        files = [path]
    sources = []
    for file in files:
        try:
            sources.append((str(file), file.read_text(encoding="utf-8")))
        except OSError as error:
            raise GrammarError(file, None, (error.strerror or str(error)).lower()) from error
        except UnicodeDecodeError as error:
            raise GrammarError(file, None, "is not UTF-8 text") from error
    return sources


def read_document(name: str, sources: Iterable[tuple[str, str]]) -> Document:
    """Merge (path, text) pairs: lists of the same name grow, a later rule replaces an earlier.

    Raises GrammarError.
    """
    blocks: list[Block] = []
    rules: dict[str, Template] = {}
    lists: dict[str, ListDefinition] = {}
    skip_words: list[str] = []
    for path, text in sources:
        reader = _Reader(path)
        top = reader.top(text)
        rules |= reader.rules(top)
        for key, added in reader.lists(top).items():
            old = lists.get(key)
            if old and not (old.values and added.values):
                raise added.where.error(f"list {{{key}}} is already defined at {old.where}")
            lists[key] = ListDefinition(key, old.where, old.values + added.values) if old else added
        blocks += reader.blocks(top)
        if "skip_words" in top:
            skip_words += reader.texts(top["skip_words"], "skip_words")
    return Document(name, tuple(blocks), rules, lists, tuple(skip_words))


class _Reader:
    """Turns the nodes of one YAML (or JSON) file into definitions."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._constructor = yaml.constructor.SafeConstructor()

    def top(self, text: str) -> dict[str, Any]:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, in C
        try:
            node = yaml.compose(text, Loader=loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            reason = " ".join(filter(None, (error.context, error.problem)))
            # what is missing at the end is noticed behind the last line
            line = min(mark.line + 1, len(text.splitlines())) if mark else None
            raise GrammarError(self.path, line, reason) from error
        except yaml.YAMLError as error:
            raise GrammarError(self.path, None, str(error).splitlines()[0]) from error
        if node is None:
            raise GrammarError(self.path, None, "is empty")
        top = self.table(node, "a grammar", _TOP_KEYS)
        if "language" in top and not self.text(top["language"], "language").startswith("en"):
            raise self.fail(top["language"], "only grammars in English (en) are supported")
        if "settings" in top and self.plain(top["settings"]).get("ignore_whitespace"):
            raise self.fail(top["settings"], "ignore_whitespace is not supported")
        return top

    def where(self, node: Any) -> Where:
        return Where(self.path, node.start_mark.line + 1)

    def fail(self, node: Any, reason: str) -> GrammarError:
        return self.where(node).error(reason)

    def table(self, node: Any, what: str, keys: Iterable[str] | None = None) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"{what} must be a table of keys and values")
        found: dict[str, Any] = {}
        for key_node, value in node.value:
            key = self.text(key_node, "a key")
            if keys is not None and key not in keys:
                raise self.fail(key_node, f"unknown key {key!r} in {what}{near(key, keys)}")
            if key in found:
                raise self.fail(key_node, f"{key!r} occurs twice in {what}")
            found[key] = value
        return found

    def items(self, node: Any, what: str) -> list[Any]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, f"{what} must be a list")
        nodes: list[Any] = node.value
        return nodes

    def text(self, node: Any, what: str) -> str:
        """A scalar as it is written: YAML's `on` is the word, not the truth."""
        if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null"):
            raise self.fail(node, f"{what} must be a text")
        return str(node.value)

    def texts(self, node: Any, what: str) -> list[str]:
        return [self.text(item, f"each of {what}") for item in self.items(node, what)]

    def plain(self, node: Any) -> Any:
        """Any value; `on`, `off`, `yes` and `no` stay words."""
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith((":bool", ":str")):
            return node.value
        try:
            return self._constructor.construct_document(node)
        except yaml.YAMLError as error:
            raise self.fail(node, str(error).splitlines()[0]) from error

    def plain_table(self, node: Any, what: str) -> dict[str, Any]:
        return {key: self.plain(value) for key, value in self.table(node, what).items()}

    def rules(self, table: Mapping[str, Any]) -> dict[str, Template]:
        if "expansion_rules" not in table:
            return {}
        return {
            name: Template(self.text(body, f"rule {name!r}"), self.where(body))
            for name, body in self.table(table["expansion_rules"], "expansion_rules").items()
        }

    def lists(self, table: Mapping[str, Any]) -> dict[str, ListDefinition]:
        if "lists" not in table:
            return {}
        return {
            name: self.list_definition(name, node)
            for name, node in self.table(table["lists"], "lists").items()
        }

    def list_definition(self, name: str, node: Any) -> ListDefinition:
        what, where = f"list {{{name}}}", self.where(node)
        table = self.table(node, what, _LIST_KINDS | {"metadata"})
        if len(_LIST_KINDS & set(table)) != 1:
            raise self.fail(node, f"{what} needs one of values, range and wildcard")
        if "values" in table:
            nodes = self.items(table["values"], f"the values of {what}")
            return ListDefinition(name, where, tuple(self.value(item, what) for item in nodes))
        if "range" in table:
            return ListDefinition(name, where, range=self.range(table["range"], what))
        if self._constructor.construct_document(table["wildcard"]) is not True:
            raise self.fail(table["wildcard"], f"wildcard of {what} can only be true")
        return ListDefinition(name, where, wildcard=True)

    def value(self, node: Any, what: str) -> Value:
        if isinstance(node, yaml.ScalarNode):
            text = self.text(node, f"a value of {what}")
            return Value(text, self.where(node), text)
        table = self.table(node, f"a value of {what}", _VALUE_KEYS)
        if "in" not in table:
            raise self.fail(node, f"a value of {what} lacks 'in', the words that are spoken")
        return Value(
            self.text(table["in"], "'in'"),
            self.where(node),
            self.plain(table["out"]) if "out" in table else None,
            self.plain_table(table["context"], "context") if "context" in table else None,
        )

    def range(self, node: Any, what: str) -> Range:
        table = {
            key: self.plain(value)
            for key, value in self.table(node, f"the range of {what}", _RANGE_KEYS).items()
        }
        for key in ("from", "to"):
            if key not in table:
                raise self.fail(node, f"the range of {what} lacks {key!r}")
        for key in ("from", "to", "step"):
            if type(table.get(key, 1)) is not int:
                raise self.fail(node, f"{key!r} of {what} must be a whole number")
        if type(table.get("multiplier", 1)) not in (int, float):
            raise self.fail(node, f"'multiplier' of {what} must be a number")
        if table.get("fractions") not in (None, "halves", "tenths"):
            raise self.fail(node, f"'fractions' of {what} must be halves or tenths")
        multiplier = table.get("multiplier")
        return checked_range(
            Range(
                *(table["from"], table["to"], table.get("step", 1), table.get("fractions")),
                multiplier=None if multiplier is None else float(multiplier),
            ),
            *(what, self.where(node)),
        )

    def blocks(self, top: Mapping[str, Any]) -> list[Block]:
        if "intents" not in top:
            return []
        found = []
        for intent, node in self.table(top["intents"], "intents").items():
            what = f"intent {intent!r}"
            table = self.table(node, what, _INTENT_KEYS)
            if "data" not in table:
                raise self.fail(node, f"{what} lacks 'data'")
            found += [
                self.block(intent, item) for item in self.items(table["data"], f"'data' of {what}")
            ]
        return found

    def block(self, intent: str, node: Any) -> Block:
        what = f"intent {intent!r}"
        table = self.table(node, what, _BLOCK_KEYS)
        if "sentences" not in table:
            raise self.fail(node, f"{what} lacks 'sentences'")
        sentences = self.items(table["sentences"], f"'sentences' of {what}")

        def tabled(key: str) -> dict[str, Any]:
            return self.plain_table(table[key], f"{key!r} of {what}") if key in table else {}

        return Block(
            intent,
            tuple(Template(self.text(s, "a sentence"), self.where(s)) for s in sentences),
            rules=self.rules(table),
            lists=self.lists(table),
            slots=tabled("slots"),
            requires=tabled("requires_context"),
            excludes=tabled("excludes_context"),
            keywords=tuple(
                self.texts(table["required_keywords"], "required_keywords")
                if "required_keywords" in table
                else ()
            ),
        )
