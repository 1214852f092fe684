"""Mistakes in grammars are explained with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.decoding.grammar import load_grammar
from asr.decoding.grammar.spelling import number_variants, spell, spell_template
from asr.errors import GrammarError
from asr.vocabulary import Vocabulary

from .conftest import HOME, compile_text

HEAD = "intents:\n  Do:\n    data:\n      - sentences:\n"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("intents: [\n  a: b", 2, "flow"),
        ("", None, "empty"),
        ("- a", 1, "must be a table"),
        ("intent:\n  A: {}", 1, "unknown key 'intent' in a grammar; did you mean 'intents'"),
        ("language: de", 1, "English"),
        ("lists: {}\nlists: {}", 2, "twice"),
        ("lists: {}", None, "no sentence"),
        ("intents:\n  A: {}", 2, "lacks 'data'"),
        ("intents:\n  A:\n    data:\n      - sentences: x", 4, "must be a list"),
        ("intents:\n  A:\n    data:\n      - slots: {}", 4, "lacks 'sentences'"),
        ("intents:\n  A:\n    data:\n      - sentence: [x]", 4, "did you mean 'sentences'"),
        (HEAD + "          - turn on\n          - '{lihgt} on'\nlists: {light: {values: [a]}}", 6,
         "unknown list {lihgt}; did you mean 'light'"),
        (HEAD + "          - '<teh> lamp'\nexpansion_rules: {the: '(the|my)'}", 5,
         "unknown rule <teh>; did you mean 'the'"),
        ("expansion_rules:\n  a: x\n  b: 'y <c>'\n  c: '[<b>]'", 3, "<b> -> <c> -> <b>"),
        ("expansion_rules:\n  a: '[<a>] b'", 2, "needs itself"),
        (HEAD + "          - ''", 5, "empty template"),
        (HEAD + "          - '!?'", 5, "empty template"),
        (HEAD + "          -", 5, "must be a text"),
        (HEAD + "          - 'turn [on'", 5, "'[' at column 6 is never closed"),
        (HEAD + "          - 'turn on)'", 5, "unexpected ')' at column 8"),
        (HEAD + "          - 'turn (on|)'", 5, "nothing before ')'"),
        (HEAD + "          - 'turn (|on)'", 5, "write [a]"),
        (HEAD + "          - 'turn (on|'", 5, "never closed"),
        (HEAD + "          - 'turn on |'", 5, "nothing after"),
        (HEAD + "          - 'turn ()'", 5, "nothing before"),
        (HEAD + "          - '{}'", 5, "nothing before"),
        (HEAD + "          - '{a[b]}'", 5, "inside '{'"),
        (HEAD + "          - '(a|b;c)'", 5, "side by side"),
        (HEAD + "          - '(a;b;c;d;e;f;g;h;i)'", 5, "more than 8 parts"),
        (HEAD + "          - '{9..1:n}'", 5, "goes from 9 to 1"),
        ("lists:\n  n:\n    range: {from: 9, to: 1}", 3, "goes from 9 to 1"),
        ("lists:\n  n:\n    range: {from: 1, to: 9, step: 0}", 3, "step"),
        ("lists:\n  n:\n    range: {from: 1}", 3, "lacks 'to'"),
        ("lists:\n  n:\n    range: {from: one, to: 9}", 3, "whole number"),
        ("lists:\n  n:\n    range: {from: 1, to: 9, fractions: thirds}", 3, "halves or tenths"),
        ("lists:\n  n:\n    range: {from: 1, to: 9, by: 2}", 3, "unknown key 'by'"),
        ("lists:\n  n:\n    range: {from: 0, to: 1000000}", 3, "more than 100,000"),
        ("lists:\n  n: {}", 2, "needs one of values, range and wildcard"),
        ("lists:\n  n: {wildcard: false}", 2, "only be true"),
        ("lists:\n  n:\n    values:\n      - out: x", 4, "lacks 'in'"),
        ("lists:\n  n:\n    values:\n      - [a, b]", 4, "must be a table"),
        (HEAD + "          - '{n}'\nlists:\n  n:\n    values:\n      - '{n} x'", 9, "cannot hold"),
        (HEAD + "          - '{n}'\nlists:\n  n:\n    values: ['客厅']", None, "no sentence"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(text: str, line: int | None, reason: str) -> None:
    with pytest.raises(GrammarError) as caught:
        compile_text(text)
    assert reason in str(caught.value)
    assert caught.value.line == line
    assert str(caught.value).startswith("test")
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"language: \xe9")
    for name in ("absent.yaml", "latin.yaml"):
        with pytest.raises(GrammarError, match=name):
            load_grammar(tmp_path / name, Vocabulary.letters())
    empty = tmp_path / "folder"
    empty.mkdir()
    with pytest.raises(GrammarError, match="folder"):
        load_grammar(empty, Vocabulary.letters())


def test_a_folder_is_merged_and_names_are_added(tmp_path: Path) -> None:
    folder = tmp_path / "sentences"
    folder.mkdir()
    (folder / "a.yaml").write_text(HEAD + "          - '<turn> {name} on'")
    (folder / "b.json").write_text('{"expansion_rules": {"turn": "(turn|switch)"}}')
    (folder / "c.yaml").write_text("lists: {name: {values: [lamp]}}")
    names = tmp_path / "names.yaml"
    names.write_text("lists: {name: {values: [TV, 'Lamp 2']}}")
    grammar = load_grammar(folder, Vocabulary.letters(), names=[names])
    assert grammar.names == ("sentences",)
    for text in ("turn lamp on", "switch tv on", "turn lamp two on"):
        assert grammar.accepts(text)
    found = grammar.interpret("turn lamp two on")
    assert found is not None
    assert [(s.value, s.text) for s in found.slots] == [("Lamp 2", "lamp two")]


def test_several_files_are_several_grammars(tmp_path: Path) -> None:
    (tmp_path / "home.yaml").write_text(HOME)
    (tmp_path / "go.yaml").write_text(HEAD + "          - go\n          - stop")
    grammar = load_grammar([tmp_path / "home.yaml", tmp_path / "go.yaml"], Vocabulary.letters())
    found = grammar.interpret("stop")
    assert grammar.names == ("home", "go")
    assert found is not None
    assert found.as_dict() == {"intent": "Do", "slots": {}, "grammar": "go"}


def test_values_that_cannot_be_said_are_left_out_with_a_warning() -> None:
    text = (
        HEAD
        + "          - '{n} on'\nlists:\n  n:\n    values:\n      - lamp\n"
        + "      - 客厅\n      - 客厅 two"
    )
    grammar = compile_text(text)
    assert [w.split(": ")[0] for w in grammar.warnings] == ["test.yaml:10", "test.yaml:11"]
    assert grammar.words == {"lamp", "two", "on"}


def test_words_that_yaml_takes_for_truth_values_stay_words() -> None:
    text = HEAD + "          - 'lamp {s}'\nlists: {s: {values: [on, {in: 'off', out: off}, 7]}}"
    grammar = compile_text(text)
    values = []
    for spoken in ("lamp on", "lamp off", "lamp seven"):
        found = grammar.interpret(spoken)
        assert found is not None
        values.append(found.slots[0].value)
    assert values == ["on", "off", "7"]


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Küche", "kuche"),
        ("24/7", "twenty four seven"),
        ("A/C", "a c"),
        ("A.C. unit", "a c unit"),
        ("air-conditioner", "air conditioner"),
        ("Lamp 2", "lamp two"),
        ("1st floor", "first floor"),
        ("50% of 2,000", "fifty percent of two thousand"),
        ("22.5°", "twenty two point five degrees"),
        ("007", "zero zero seven"),
        ("Tom & Jerry\u2019s", "tom and jerry's"),
        ("rock 'n' roll", "rock n roll"),
        ("客厅", ""),
        ("  plain   words ", "plain words"),
    ],
)
def test_text_is_spelled_as_the_recogniser_writes_it(written: str, spoken: str) -> None:
    assert spell(written) == spoken
    assert spell(spoken) == spoken


def test_templates_keep_their_syntax_when_spelled() -> None:
    assert spell_template("[The] {Name:x}'s (A/C|Café)[ 2]") == "[the] {Name:x}'s (a c|cafe)[ two ]"


def test_numbers_may_be_said_in_the_usual_ways() -> None:
    assert number_variants(7) == ("seven",)
    assert set(number_variants(105)) == {
        *("one hundred five", "one hundred and five", "a hundred five", "a hundred and five"),
    }
    assert set(number_variants(20.5)) == {"twenty point five", "twenty and a half"}
    assert "two thousand and twenty four" in number_variants(2024)
