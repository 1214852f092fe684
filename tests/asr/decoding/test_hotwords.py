"""Promises of hot words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.decoders import SearchConfig, as_known, make_decoder
from asr.decoding.hotwords import Hotword, HotwordScorer, read_hotwords
from asr.decoding.lexicon import WordConfig, WordScorer
from asr.decoding.lm.corpus import corpus_of
from asr.decoding.lm.estimate import estimate
from asr.decoding.lm.language_model import LanguageModel
from asr.errors import HotwordError
from asr.vocabulary import BLANK, Vocabulary

from .conftest import spoken

LETTERS = Vocabulary.letters()
PIECES = Vocabulary([BLANK, "▁a", "▁b", "a", "b", "▁ab"])


def total(scorer: HotwordScorer, tokens: list[int]) -> float:
    """What a whole utterance of these tokens is given in the end."""
    states, score = scorer.start()[None], 0.0
    for token in tokens:
        gains, new = scorer.extend(states, np.array([token], np.int32), np.ones((1, 1), bool))
        score += float(gains[0, 0])
        states = new[:, 0]
    return score + float(scorer.finish(states)[0])


def reference(hotwords: list[Hotword], text: str) -> float:
    """Boosts of whole phrases at whole words, from left to right, the longest first."""
    boosts = {tuple(h.text.split()): h.boost * len(LETTERS.encode(h.text)) for h in hotwords}
    words, at, score = text.split(), 0, 0.0
    while at < len(words):
        found = [p for p in boosts if tuple(words[at : at + len(p)]) == p]
        longest = max(found, key=len, default=())
        score += boosts.get(longest, 0.0)
        at += max(1, len(longest))
    return score


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("new york", 8), ("in new york city", 8), ("new yorker", 0), ("anew york", 0), ("new", 0),
        ("new new york", 8), ("york new york new york", 16), ("", 0), ("ada and new york", 11),
        ("adam", 0), ("new ada", 3), ("newyork", 0),
    ],
)
def test_only_whole_phrases_keep_their_boost(text: str, letters: int) -> None:
    scorer = HotwordScorer([Hotword("new york", 2.0), Hotword("ada", 2.0)], LETTERS)
    assert total(scorer, LETTERS.encode(text)) == pytest.approx(2.0 * letters)


def test_a_completed_phrase_keeps_its_boost_where_a_longer_one_breaks_off() -> None:
    scorer = HotwordScorer([Hotword("new", 1.0), Hotword("new york city", 1.0)], LETTERS)
    assert total(scorer, LETTERS.encode("new york town")) == pytest.approx(3.0)
    assert total(scorer, LETTERS.encode("new york city")) == pytest.approx(13.0)


def test_a_match_may_begin_inside_one_that_breaks_off() -> None:
    scorer = HotwordScorer([Hotword("new york city", 1.0), Hotword("york times", 1.0)], LETTERS)
    assert total(scorer, LETTERS.encode("new york times")) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("phrases", "text", "expected"),
    [
        ({"ada": 1.0, "ada lovelace": 3.0}, "ada", 3.0),
        ({"ada": 1.0, "ada lovelace": 3.0}, "ada lovelace", 36.0),
        ({"ada": 1.0, "ada lovelace": 3.0}, "ada loves", 3.0),
        ({"uh": -1.0, "uh oh": 2.0}, "uh", -2.0),
        ({"uh": -1.0, "uh oh": 2.0}, "uh well", -2.0),
        ({"uh": -1.0, "uh oh": 2.0}, "uh oh", 10.0),
        ({"adam": 3.0, "adaz": 0.5}, "adaz", 2.0),
        ({"adaz": 0.5, "adam": 3.0}, "adaz", 2.0),
        ({"york": 1.0, "new york city": 1.0}, "new york is", 4.0),
        ({"york": 1.0, "new york city": 1.0}, "new york", 4.0),
        ({"york": 1.0, "new york city": 1.0}, "new york cities", 4.0),
        ({"york": 1.0, "new york city": 1.0}, "new yorker", 0.0),
        ({"york": 1.0, "new york city": 1.0}, "new york city", 13.0),
        ({"b": 1.0, "a b": -2.0, "x a b c": 5.0}, "x a b d", -6.0),
    ],
)
def test_each_phrase_is_worth_its_own_boost(
    phrases: dict[str, float], text: str, expected: float
) -> None:
    scorer = HotwordScorer([Hotword(*phrase) for phrase in phrases.items()], LETTERS)
    assert total(scorer, LETTERS.encode(text)) == pytest.approx(expected)


BOOSTS = st.sampled_from([-1.0, 0.5, 1.0, 3.0])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.dictionaries(st.sampled_from(["a", "ab", "b", "abc"]), BOOSTS),
    st.lists(st.sampled_from(["a", "ab", "b", "ba", "c", "abc"]), max_size=6).map(" ".join),
)
def test_single_words_are_boosted_wherever_they_stand(
    phrases: dict[str, float], text: str
) -> None:
    hotwords = [Hotword(*phrase) for phrase in phrases.items()]
    found = total(HotwordScorer(hotwords, LETTERS), LETTERS.encode(text))
    assert found == pytest.approx(reference(hotwords, text))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(" ".join),
        st.sampled_from([0.5, 1.0, 3.0]), max_size=4,
    ),
    st.lists(st.sampled_from("abc"), max_size=8).map(" ".join),
)
def test_no_text_is_given_more_than_its_phrases_are_worth(
    phrases: dict[str, float], text: str
) -> None:
    hotwords = [Hotword(*phrase) for phrase in phrases.items()]
    found = total(HotwordScorer(hotwords, LETTERS), LETTERS.encode(text))
    everything = sum(
        h.boost * len(h.text) for h in hotwords for i in range(len(text))
        if f" {text} "[i : i + len(h.text) + 2] == f" {h.text} "
    )
    assert -1e-9 <= found <= everything + 1e-9


def test_word_pieces_are_matched_from_the_start_of_a_word() -> None:
    scorer = HotwordScorer([Hotword("ab", 1.5)], PIECES)
    assert PIECES.encode("ab") == [5]
    assert total(scorer, [5]) == pytest.approx(4.5)  # as much as two letters and a mark
    assert total(scorer, [5, 3]) == 0.0  # aba
    assert total(scorer, [1, 5]) == pytest.approx(4.5)


def test_a_word_that_no_piece_begins_is_matched_behind_the_mark() -> None:
    vocabulary = Vocabulary([BLANK, "▁", "▁a", "z", "o"])
    scorer = HotwordScorer([Hotword("zo", 1.0), Hotword("a", 1.0)], vocabulary)
    zo = vocabulary.encode("zo")
    assert [vocabulary.tokens[token] for token in zo] == ["▁", "z", "o"]
    assert total(scorer, zo) == pytest.approx(3.0)
    assert total(scorer, vocabulary.encode("zo a zo")) == pytest.approx(8.0)
    assert total(scorer, vocabulary.encode("oz azo zoo")) == 0.0


def test_a_word_that_nobody_wrote_before_is_heard_as_soon_as_it_is_hot() -> None:
    model = LanguageModel.from_ngrams(estimate(corpus_of(["call anna now", "call me now"] * 5), 2))
    config = SearchConfig(words=WordConfig(unknown_penalty=9.0, spelling_penalty=2.0))
    log_probs = spoken("call anoa now", blur=0.45)
    heard = {}
    for hot in ((), (Hotword("anoa", 5.0), Hotword("mexx", 5.0))):
        stream = make_decoder("lm", LETTERS, config, lambda: model, hot).new_stream()
        stream.advance(log_probs)
        heard[len(hot)] = LETTERS.decode(stream.hypothesis(final=True).tokens)
    assert heard == {0: "call anna now", 2: "call anoa now"}


def test_the_price_of_unknown_words_is_given_back_to_what_is_preferred_only() -> None:
    model = LanguageModel.from_ngrams(estimate(corpus_of(["call anna now"] * 3), 2))
    config = WordConfig(unknown_penalty=4.0, spelling_penalty=0.5)
    words = WordScorer(model, LETTERS, config)
    assert as_known(Hotword("anna", 1.0), words, LETTERS) == Hotword("anna", 1.0)
    assert as_known(Hotword("bert", -1.0), words, LETTERS) == Hotword("bert", -1.0)
    assert as_known(Hotword("bert", 1.0), words, LETTERS).boost == pytest.approx(1.0 + 1.5 / 4)
    mixed = as_known(Hotword("call bert", 1.0), words, LETTERS)
    assert 9 * (mixed.boost - 1.0) == pytest.approx(1.5)


def test_a_file_of_hotwords_is_read(tmp_path: Path) -> None:
    path = tmp_path / "hot.txt"
    path.write_text("# people\nAda Lovelace\n\nO'Brien: 3  # boosted\ntuvix\t-2\n")
    assert read_hotwords(path, LETTERS) == [
        Hotword("ada lovelace"), Hotword("o'brien", 3.0), Hotword("tuvix", -2.0)
    ]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("route 66", "'6'"), ("ada: much", "ada: much"), ("a: 1: 2", "a: 1: 2"), ("x: 1e9", "1e9"),
        (": 2", ": 2"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, named: str) -> None:
    path = tmp_path / "hot.txt"
    path.write_text(f"fine\n{line}\n")
    with pytest.raises(HotwordError, match=r"hot\.txt:2: ") as error:
        read_hotwords(path, LETTERS)
    assert named in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HotwordError, match=r"none\.txt: No such file"):
        read_hotwords(tmp_path / "none.txt", LETTERS)
