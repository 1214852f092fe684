"""Grammars to test with, written here: the corpus may be absent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from asr.decoding.grammar import Grammar, compile_grammar, read_document
from asr.vocabulary import Vocabulary

HOME = """
language: en
intents:
  TurnOn:
    data:
      - sentences:
          - "(turn|switch) on [<the>] <device>"
          - "(turn|switch) [<the>] <device> on"
  SetLight:
    data:
      - sentences:
          - "set [<the>] {lamp} brightness to {brightness} percent"
          - "set [<the>] {lamp} [to] {color}"
        slots: {domain: light}
  Timer:
    data:
      - sentences: ["set [a] timer for <duration>", "cancel [(the|my)] timer[s]"]
  Add:
    data:
      - sentences: ["add {item} to [my] list"]
  Order:
    data:
      - sentences: ["(a|an) ([{size}];[{roast}]) coffee"]
lists:
  area: {values: [kitchen, living room]}
  lamp: {values: [bed light, {in: "lamp[s]", out: lamps}]}
  brightness: {range: {from: 1, to: 100}}
  minutes: {range: {from: 1, to: 60}}
  color: {values: [red, {in: light blue, out: "#aaf"}]}
  item: {values: [milk, eggs]}
  size: {values: [small, twelve ounce]}
  roast: {values: [dark roast, light roast]}
expansion_rules:
  the: "(the|my)"
  device: "({lamp}|{area} light[s]|tv [in [<the>] {area}])"
  duration: "({minutes} (minute|minutes)|{minutes} and a half minutes)"
"""

Compile = Callable[..., Grammar]


def compile_text(text: str, **settings: object) -> Grammar:
    """A grammar named `test` for a letter vocabulary."""
    document = read_document("test", [("test.yaml", text)])
    return compile_grammar(document, Vocabulary.letters(), **settings)  # type: ignore[arg-type]


def one_template(template: str, rest: str = "") -> Grammar:
    """A grammar of one template; `rest` holds lists and rules as YAML."""
    return compile_text(f"intents: {{Do: {{data: [{{sentences: ['{template}']}}]}}}}\n{rest}")


def language(grammar: Grammar, limit: int = 20_000) -> set[str]:
    """Every sentence, by walking all tokens; checks on the way that no state is a dead end
    and that `continues` tells the truth."""
    tokens = Vocabulary.letters()
    found: set[str] = set()

    def walk(state: int, path: list[int]) -> bool:
        assert len(found) < limit
        states = np.array([state], dtype=np.int32)
        longer = more_words = False
        for token, target in enumerate(grammar.successors(states)[0].tolist()):
            if target >= 0:
                longer |= walk(target, [*path, token])
                more_words |= tokens.is_boundary(token)
        accepted = bool(grammar.accepting(states)[0])
        assert bool(grammar.continues(states)[0]) == (more_words if accepted else longer)
        if accepted:
            found.add(tokens.decode(path))
        assert accepted or longer
        return accepted or longer

    walk(grammar.start, [])
    return found


@pytest.fixture(scope="session")
def home() -> Grammar:
    """A small home."""
    return compile_text(HOME)
