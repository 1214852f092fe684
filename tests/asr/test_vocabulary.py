"""Tokens and text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError
from asr.vocabulary import BLANK, BLANK_ID, LETTERS, WORD_START, Vocabulary

VOCABULARY = Vocabulary.letters()
PIECES = Vocabulary((BLANK, "▁the", "▁th", "▁", "e", "re", "a", "t", "h", "r"))
WHOLE_PIECES = Vocabulary((BLANK, "▁a", "▁b", "a", "b"))


def test_letters_are_29_tokens() -> None:
    assert len(VOCABULARY) == 29
    assert VOCABULARY.tokens[BLANK_ID] == BLANK
    assert VOCABULARY.tokens[1] == WORD_START


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(text=st.text(LETTERS + " ", max_size=40))
def test_letters_round_trip(text: str) -> None:
    ids = VOCABULARY.encode(text)
    assert BLANK_ID not in ids
    assert VOCABULARY.decode(ids) == " ".join(text.split())


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(text=st.text("ab ", max_size=20))
def test_pieces_that_carry_the_word_start_round_trip(text: str) -> None:
    assert WHOLE_PIECES.decode(WHOLE_PIECES.encode(text)) == " ".join(text.split())


def test_a_boundary_stands_between_words_only() -> None:
    assert VOCABULARY.encode(" a  b ") == [3, 1, 4]


def test_the_longest_match_wins() -> None:
    assert [PIECES.tokens[i] for i in PIECES.encode("a there")] == ["▁", "a", "▁the", "re"]
    assert [PIECES.tokens[i] for i in PIECES.encode("the three")] == ["▁the", "▁th", "re", "e"]


@pytest.mark.parametrize("text", ["é", "a1", "A", "<blank>"])
def test_text_without_tokens_is_refused_by_its_first_character(text: str) -> None:
    bad = next(c for c in text if c not in LETTERS)
    with pytest.raises(ValueError, match=f"no token for {bad!r}"):
        VOCABULARY.encode(text)


def test_spaces_at_the_ends_are_not_written() -> None:
    assert VOCABULARY.decode([1, 3, 1, 1, 4, 1]) == "a b"
    assert VOCABULARY.decode([]) == ""


def test_word_starts_and_boundaries_are_told_apart() -> None:
    assert [PIECES.starts_word(i) for i in range(1, 5)] == [True, True, True, False]
    assert [PIECES.is_boundary(i) for i in range(1, 5)] == [False, False, True, False]


@pytest.mark.parametrize("tokens", [(), ("a",), ("a", BLANK), (BLANK, "a", "a"), (BLANK, "")])
def test_lists_that_are_no_vocabulary_are_refused(tokens: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="vocabulary"):
        Vocabulary(tokens)
