"""Promises of a grammar behind wake phrases, for the vocabulary of the shipped model."""

from __future__ import annotations

import pytest

from asr.bundle import load_bundle
from asr.decoding.base import Hypothesis
from asr.decoding.commands import CommandConfig, CommandDecoder
from asr.decoding.grammar import Grammar, compile_grammar, read_document
from asr.decoding.greedy import GreedyDecoder
from asr.errors import ConfigError
from asr.locations import default_model_dir
from asr.vocabulary import Vocabulary

from .conftest import spoken
from .grammar.conftest import HOME, language, one_template

PHRASES = ("Computer", "hey there")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return load_bundle(default_model_dir()).vocabulary


@pytest.fixture(scope="module")
def home(vocabulary: Vocabulary) -> Grammar:
    return compile_grammar(read_document("home", [("home.yaml", HOME)]), vocabulary)


@pytest.fixture(scope="module")
def closed(home: Grammar) -> Grammar:
    return home.behind(PHRASES)


@pytest.fixture(scope="module")
def opened(home: Grammar) -> Grammar:
    return home.behind(PHRASES, bare=True)


def heard(grammar: Grammar, text: str, final: bool = True) -> Hypothesis:
    decoder = CommandDecoder(grammar, grammar._vocabulary, GreedyDecoder(), CommandConfig())
    stream = decoder.new_stream()
    stream.advance(spoken(text))
    return stream.hypothesis(final)


def test_a_phrase_opens_every_sentence_and_stands_alone() -> None:
    grammar = one_template("go [now]")
    assert language(grammar.behind(["a", "b c"])) == {
        "a", "b c", "a go", "a go now", "b c go", "b c go now",
    }  # fmt: skip
    assert language(grammar.behind(["a"], bare=True)) == {"a", "a go", "a go now", "go", "go now"}
    assert language(grammar) == {"go", "go now"}


@pytest.mark.parametrize(("phrase", "words"), [("computer", 1), ("hey there", 2)])
def test_a_command_is_what_follows_the_phrase(
    closed: Grammar, home: Grammar, phrase: str, words: int
) -> None:
    best = heard(closed, f"{phrase} turn on the bed light")
    assert (best.understood, best.wake) == (True, words)
    assert best.interpretation == heard(home, "turn on the bed light").interpretation
    assert best.interpretation is not None


@pytest.mark.parametrize("text", ["turn on the bed light", "cancel timer", "hey cancel timer"])
def test_without_the_phrase_nothing_is_a_command(closed: Grammar, text: str) -> None:
    best = heard(closed, text)
    assert (best.understood, best.wake, best.interpretation) == (False, 0, None)


def test_an_open_ear_takes_commands_with_and_without_the_phrase(opened: Grammar) -> None:
    bare, behind = (heard(opened, f"{start}cancel timer") for start in ("", "computer "))
    assert (bare.understood, bare.wake) == (True, 0)
    assert (behind.understood, behind.wake) == (True, 1)
    assert bare.interpretation == behind.interpretation


def test_the_phrase_alone_is_heard_but_is_no_command(closed: Grammar, opened: Grammar) -> None:
    for grammar in (closed, opened):
        best = heard(grammar, "computer")
        assert (best.understood, best.wake, best.interpretation) == (False, 1, None)
        assert len(best.tokens) == len("computer")


def test_the_phrase_waits_for_its_command_and_the_command_for_nothing(closed: Grammar) -> None:
    phrase, command = (heard(closed, f"computer{t}", final=False) for t in ("", " cancel timers"))
    assert (phrase.accepting, phrase.continues) == (True, True)
    assert (command.accepting, command.continues) == (True, False)


def test_the_grammar_itself_stays_as_it_was(home: Grammar, closed: Grammar) -> None:
    assert not home.accepts("computer")
    assert home.accepts("cancel timer")
    assert closed.accepts("computer cancel timer")
    assert home.wake_words("computer cancel timer") == 0


def test_a_phrase_that_cannot_be_said_is_refused(home: Grammar) -> None:
    with pytest.raises(ConfigError, match="wake phrase '电脑'"):
        home.behind(["computer", "电脑"])
