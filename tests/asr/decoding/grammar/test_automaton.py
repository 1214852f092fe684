"""The automaton allows exactly the sentences of its templates, token by token."""

from __future__ import annotations

import threading
from itertools import islice

import numpy as np
import pytest
from hassil import parse_sentence
from hassil.intents import TextSlotList
from hassil.sample import sample_sentence
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asr.decoding.grammar import Grammar, compile_grammar, read_document, union
from asr.vocabulary import BLANK, BLANK_ID, Vocabulary

from .conftest import HOME, compile_text, language, one_template

LISTS = """
lists:
  thing: {values: [ab, a b, b]}
  name: {values: [a, c]}
expansion_rules:
  rule: "[a] {thing}"
  outer: "(<rule>|b [<rule>])"
"""
SLOT_LISTS = {
    "thing": TextSlotList.from_strings(["ab", "a b", "b"]),
    "name": TextSlotList.from_strings(["a", "c"]),
}
RULES = {
    "rule": parse_sentence("[a] {thing}"),
    "outer": parse_sentence("(<rule>|b [<rule>])"),
}

atoms = st.sampled_from(["a", "b", "ab", "ba", "{thing}", "{name}", "<rule>", "<outer>"])


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Templates made of smaller ones, glued or spaced."""
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        several.map(" ".join),
        several.map("".join),
        several.map(lambda parts: f"({'|'.join(parts)})"),
        inner.map(lambda part: f"[{part}]"),
        inner.map(lambda part: f"[{part} ]"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f" ({';'.join(parts)}) "),
    )


templates = st.recursive(atoms, grown, max_leaves=6).filter(str.strip)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(templates)
def test_language_equals_the_expansion_of_the_template(template: str) -> None:
    expansions = list(
        islice(sample_sentence(parse_sentence(template), SLOT_LISTS, RULES), 400)  # type: ignore[arg-type]
    )
    assume(len(expansions) < 400)
    expected = {" ".join(text.split()) for text in expansions} - {""}
    grammar = one_template(template, LISTS)
    assert language(grammar) == expected
    assert grammar.sentences == len(expansions)
    assert grammar.words == {word for text in expected for word in text.split()}
    assert set(grammar.samples(20)) <= expected


def test_blank_is_never_a_step_and_dead_states_stay_dead(home: Grammar) -> None:
    rows = home.successors(np.array([home.start, -1], dtype=np.int32))
    assert rows.shape == (2, len(Vocabulary.letters()))
    assert rows.dtype == np.int32
    assert rows[0, BLANK_ID] == -1
    assert (rows[1] == -1).all()
    dead = np.array([-1], dtype=np.int32)
    assert not home.accepting(dead)[0]
    assert not home.continues(dead)[0]


def test_boundary_stands_between_words_only(home: Grammar) -> None:
    v = Vocabulary.letters()
    boundary = v.encode("a b")[1]
    assert home.state_after([boundary]) == -1
    assert home.state_after([*v.encode("turn"), boundary, boundary]) == -1
    assert home.state_after([*v.encode("cancel timer"), boundary]) == -1
    behind = home.state_after([*v.encode("turn on tv"), boundary])
    assert behind >= 0
    assert not home.accepting(np.array([behind], dtype=np.int32))[0]


@pytest.mark.parametrize(
    ("text", "accepting", "continues"),
    [
        ("turn on tv", True, True),
        ("turn on tv in my kitchen", True, False),
        ("turn on tv in", False, True),
        ("turn on t", False, True),
        ("cancel timer", True, False),  # "timers" is another word
        ("cancel timers", True, False),
    ],
)
def test_endpointing_learns_whether_a_sentence_is_whole(
    home: Grammar, text: str, accepting: bool, continues: bool
) -> None:
    state = np.array([home.state_after(Vocabulary.letters().encode(text))], dtype=np.int32)
    assert bool(home.accepting(state)[0]) == accepting
    assert bool(home.continues(state)[0]) == continues


@pytest.mark.parametrize(
    "text",
    [
        "",
        "turn",
        "turn on",
        "turn on the",
        "turn on on tv",
        "turn on tv kitchen",
        "turn on the garage light",
        "set bed light to",
        "set bed light brightness to zero percent",
        "set bed light brightness to one hundred and one percent",
        "a dark roast light roast coffee",
        "cancel timerss",
        "add milk and eggs to list",
    ],
)
def test_near_misses_are_rejected(home: Grammar, text: str) -> None:
    assert not home.accepts(text)


def test_all_samples_are_accepted_and_understood(home: Grammar) -> None:
    samples = home.samples(60)
    assert len(samples) == 60
    assert samples == home.samples(60)
    for text in samples:
        assert home.accepts(text), text
        assert home.interpret(text) is not None, text


def test_states_do_not_depend_on_the_order_of_questions(home: Grammar) -> None:
    v = Vocabulary.letters()
    texts = home.samples(20, seed=3)
    fresh = compile_text(HOME)
    for text in reversed(texts):
        assert fresh.accepts(text)
    states = np.array([fresh.state_after(v.encode(text)) for text in texts], dtype=np.int32)
    one_by_one = [fresh.successors(states[i : i + 1])[0] for i in range(len(states))]
    assert (fresh.successors(states) == np.stack(one_by_one)).all()


def test_caches_grow_only_for_who_holds_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = threading.Lock()
    learn = Grammar._learn_one
    learned = []

    def checked(grammar: Grammar, state: int) -> None:
        assert lock.locked()
        learned.append(state)
        learn(grammar, state)

    monkeypatch.setattr(Grammar, "_learn_one", checked)
    grammar = compile_text(HOME)
    grammar.growing = lock
    for shared in (grammar, grammar.behind(["computer"])):
        learned.clear()
        assert not shared.accepts("stop")
        assert learned
    assert not lock.locked()


def test_wildcard_takes_any_words_but_at_least_one() -> None:
    grammar = one_template("play {query} on [the] radio", "lists: {query: {wildcard: true}}")
    for text in ("play x on radio", "play it's on the on the radio", "play on on radio"):
        assert grammar.accepts(text), text
    for text in ("play on radio", "play  on the radio", "play ' on radio", "play x on"):
        assert not grammar.accepts(text), text
    assert grammar.sentences is None
    assert grammar.words == {"play", "on", "the", "radio"}
    found = grammar.interpret("play some blues on the radio")
    assert found is not None
    assert [(s.name, s.value) for s in found.slots] == [("query", "some blues")]


def test_skip_words_are_heard_at_both_ends_and_do_not_delay_the_answer() -> None:
    grammar = compile_text(
        "intents: {Do: {data: [{sentences: ['lights on [now]']}]}}\nskip_words: [please, can you]"
    )
    for text in ("lights on", "please lights on", "can you please lights on now please"):
        assert grammar.accepts(text), text
        assert grammar.interpret(text) is not None, text
    assert not grammar.accepts("please")
    assert not grammar.accepts("lights please on")
    v = Vocabulary.letters()
    states = [
        grammar.state_after(v.encode(t)) for t in ("lights on", "lights on now", "lights on now pl")
    ]
    assert grammar.continues(np.array(states, dtype=np.int32)).tolist() == [True, False, True]


def test_word_pieces_lead_where_their_letters_lead() -> None:
    pieces = Vocabulary([BLANK, "▁turn", "▁o", "n", "ff", "▁on", "▁t", "v", "▁tv", "s", "é"])
    document = read_document(
        "p", [("p.yaml", "intents: {A: {data: [{sentences: ['turn (on|off) tv[s]']}]}}")]
    )
    grammar = compile_grammar(document, pieces)
    for text in ("turn on tv", "turn off tvs"):
        assert grammar.accepts(text), text
    ids = {token: i for i, token in enumerate(pieces.tokens)}
    assert grammar.state_after([ids["▁turn"], ids["▁o"], ids["n"], ids["▁t"], ids["v"]]) >= 0
    assert grammar.state_after([ids["n"]]) == -1
    assert grammar.state_after([ids["▁turn"], ids["▁tv"]]) == -1
    assert grammar.state_after([ids["é"]]) == -1


def test_union_searches_all_grammars_and_names_the_one_that_fits(home: Grammar) -> None:
    v = Vocabulary.letters()
    other = read_document(
        "words", [("w.yaml", "intents: {Word: {data: [{sentences: ['(left|right)']}]}}")]
    )
    both = union([home, compile_grammar(other, v)])
    assert both.names == ("test", "words")
    for text, grammar, intent in (("left", "words", "Word"), ("cancel my timer", "test", "Timer")):
        assert both.accepts(text)
        found = both.interpret(text)
        assert found is not None
        assert (found.grammar, found.intent) == (grammar, intent)
    assert both.interpret("up") is None
    pieces = compile_grammar(other, Vocabulary([BLANK, "▁left"]))
    with pytest.raises(ValueError, match="one vocabulary"):
        union([home, pieces])
