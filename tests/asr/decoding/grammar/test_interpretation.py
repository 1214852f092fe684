"""A sentence means what hassil says it means."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hassil import Intents, recognize

from asr.decoding.grammar import Grammar, load_grammar
from asr.vocabulary import Vocabulary

from .conftest import HOME, compile_text, one_template

NAMES = """
lists:
  area: {values: [kitchen, living room, {in: office, out: office_id}]}
  floor: {values: [ground, first]}
  name:
    values:
      - {in: bed light, out: Bed Light, context: {domain: light}}
      - {in: ceiling fan, out: Ceiling Fan, context: {domain: fan}}
      - {in: TV, out: TV, context: {domain: media_player}}
      - {in: garage door, out: Garage Door, context: {domain: cover}}
      - {in: front door, out: Front Door, context: {domain: lock}}
      - {in: thermostat, out: Thermostat, context: {domain: climate}}
      - {in: party time, out: Party Time, context: {domain: scene}}
      - {in: groceries, out: Groceries, context: {domain: todo}}
      - {in: rover, out: Rover, context: {domain: vacuum}}
"""
SENTENCES = """
turn on the bed light
turn off the ceiling fan
turn on the lights in the kitchen
turn off all the lights in the living room
switch off the tv
activate party time
close the garage door
open the garage door
lock the front door
unlock the front door
set the bed light brightness to fifty percent
set the kitchen brightness to maximum
set the bed light to red
set the living room lights to warm white
set the temperature to twenty one degrees
what is the temperature in the kitchen
what time is it
what's the date
set a timer for five minutes
set a timer for one hour and thirty minutes
start a five minute timer named pizza
cancel my timer
add two minutes to my timer
pause the tv
set the tv volume to forty percent
next track on the tv
add oat milk to my groceries list
add apples to my shopping list
start rover
broadcast dinner is ready
is the front door locked
what is the weather
never mind
could you please turn on the bed light
"""


def slots_of(grammar: Grammar, text: str) -> dict[str, Any]:
    found = grammar.interpret(text)
    assert found is not None, text
    return {slot.name: slot.value for slot in found.slots}


def test_slots_have_types_and_the_words_as_spoken(home: Grammar) -> None:
    found = home.interpret("set the bed light brightness to fifty five percent")
    assert found is not None
    assert (found.intent, found.grammar) == ("SetLight", "test")
    assert [(s.name, s.value, s.text) for s in found.slots] == [
        ("lamp", "bed light", "bed light"),
        ("brightness", 55, "fifty five"),
        ("domain", "light", ""),
    ]


def test_out_values_replace_what_was_said(home: Grammar) -> None:
    assert slots_of(home, "set lamp to light blue") == {
        "lamp": "lamps", "color": "#aaf", "domain": "light",
    }  # fmt: skip


def test_permutations_work_in_any_order(home: Grammar) -> None:
    for text in ("a small dark roast coffee", "a dark roast small coffee"):
        assert home.accepts(text)
        assert slots_of(home, text) == {"size": "small", "roast": "dark roast"}


def test_texts_outside_the_grammar_mean_nothing(home: Grammar) -> None:
    assert home.interpret("turn on the garage") is None
    assert home.interpret("") is None


def test_local_rules_and_lists_hold_in_their_block_only() -> None:
    grammar = compile_text("""
intents:
  A: {data: [{sentences: ["<verb> {thing}"], expansion_rules: {verb: paint},
              lists: {thing: {values: [wall]}}}]}
  B: {data: [{sentences: ["<verb> {thing}"]}]}
expansion_rules: {verb: move}
lists: {thing: {values: [chair]}}
""")
    assert slots_of(grammar, "paint wall") == {"thing": "wall"}
    assert slots_of(grammar, "move chair") == {"thing": "chair"}
    for text in ("paint chair", "move wall"):
        assert not grammar.accepts(text)
        assert grammar.interpret(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("go to one hundred five", 105),
        ("go to a hundred and five", 105),
        ("go to twenty", 20),
    ],
)
def test_each_way_of_saying_a_number_gives_the_number(text: str, value: int) -> None:
    grammar = one_template("go to {0..200:floor}")
    assert grammar.accepts(text)
    assert slots_of(grammar, text) == {"floor": value}


def test_fractions_and_factors_give_floats() -> None:
    lists = "lists: {t: {range: {from: 0, to: 9, fractions: halves, multiplier: -1}}}"
    grammar = one_template("{t} degrees", lists)
    assert slots_of(grammar, "two point five degrees") == {"t": -2.5}
    assert slots_of(grammar, "two and a half degrees") == {"t": -2.5}


def test_conditions_limit_values_and_sentences() -> None:
    text = (
        """
intents:
  Lock: {data: [{sentences: ["lock {name}"], requires_context: {domain: lock}}]}
  On: {data: [{sentences: ["lights on"], requires_context: {area: {slot: true}}}]}
  Off: {data: [{sentences: ["stop {name}"], excludes_context: {domain: lock}}]}
"""
        + NAMES
    )
    grammar = compile_text(text)
    accepted = {"lock front door": True, "lock tv": False, "lights on": False,
                "stop tv": True, "stop front door": False}  # fmt: skip
    assert {t: grammar.accepts(t) for t in accepted} == accepted
    assert {t: grammar.interpret(t) is not None for t in accepted} == accepted
    assert "area" in grammar.warnings[0]
    somewhere = compile_text(text, context={"area": "kitchen"})
    assert somewhere.accepts("lights on")
    assert slots_of(somewhere, "lights on") == {"area": "kitchen"}


def test_conditions_hold_in_sentences_that_name_a_range_of_their_own() -> None:
    grammar = compile_text("""
intents:
  Light:
    data:
      - sentences: ["turn on {name}", "set {name} to {0..100:brightness} percent"]
        requires_context: {domain: light}
lists:
  name:
    values:
      - {in: lamp, context: {domain: light}}
      - {in: fan, context: {domain: fan}}
""")
    assert grammar.accepts("turn on lamp")
    assert grammar.accepts("set lamp to five percent")
    assert not grammar.accepts("set fan to five percent")


def test_a_hundred_thousand_names_can_be_said_and_understood() -> None:
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    names = [f"{a}{b} {c}" for a in syllables for b in syllables for c in syllables[:28]][:100_000]
    values = "\n".join(f"      - {name}" for name in names)
    grammar = one_template(
        "turn on [the] {name}[s] [now]", f"lists:\n  name:\n    values:\n{values}"
    )
    assert len(names) == len(set(names)) == 100_000
    assert grammar.sentences == 800_000
    spoken = [f"turn on the {names[50_000]}", f"turn on {names[-1]}s now"]
    assert all(grammar.accepts(text) for text in spoken)
    assert [slots_of(grammar, text)["name"] for text in spoken] == [names[50_000], names[-1]]
    assert not grammar.accepts("turn on baba bazz")
    # the names are searched in place: only what was said costs states
    assert grammar.states_known < 2_000


@pytest.fixture(scope="module")
def english() -> Path:
    """The English sentences of Home Assistant."""
    spec = importlib.util.find_spec("home_assistant_intents")
    if spec is None or spec.origin is None:
        if os.environ.get("CI") == "true":
            pytest.fail("home-assistant-intents must be installed in CI")
        pytest.skip("home-assistant-intents is not installed")
    return Path(spec.origin).parent / "data" / "en.json"


def test_home_assistants_sentences_mean_what_hassil_says(english: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.yaml"
    names.write_text(NAMES)
    grammar = load_grammar(english, Vocabulary.letters(), names=[names])
    raw = json.loads(english.read_text())
    raw["lists"] |= yaml.safe_load(NAMES)["lists"]
    intents = Intents.from_dict(raw)
    sentences = SENTENCES.strip().splitlines()
    understood = 0
    for text in sentences:
        expected = recognize(text, intents)
        found = grammar.interpret(text)
        if expected is None:
            assert found is None, text
            continue
        understood += 1
        assert found is not None, text
        assert found.intent == expected.intent.name, text
        assert [(s.name, s.value) for s in found.slots] == [
            (e.name, e.value) for e in expected.entities_list
        ], text
        assert grammar.accepts(text), text
    assert understood >= 30
    for text in grammar.samples(30):
        assert grammar.accepts(text), text


def test_the_home_fixture_is_read_by_hassil_as_well() -> None:
    assert recognize("cancel my timers", Intents.from_dict(yaml.safe_load(HOME))) is not None
