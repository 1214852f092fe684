"""Promises of the lexicon and of the search with a language model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.beam import BeamConfig, BeamDecoder
from asr.decoding.lexicon import Lexicon, WordConfig, WordScorer
from asr.decoding.lm.build import BuildConfig, Part, build
from asr.decoding.lm.language_model import LanguageModel
from asr.vocabulary import BLANK, Vocabulary

from .conftest import LETTERS, spoken

USED = "abcdehilnorstuw"
PIECES = Vocabulary([BLANK, *(f"▁{c}" for c in USED), *USED, "he", "▁the"])
FEW = Vocabulary([BLANK, "▁", "▁t", "▁h", *USED, "he", "▁the"])
"""Most words begin with no piece, but behind a boundary."""
SENTENCES = ["the cat sat", "the cat ran", "a hat", "the hat", "he ran", "she sat", "the other cat"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    path = tmp_path_factory.mktemp("text") / "sentences.txt"
    path.write_text("\n".join(SENTENCES) + "\n")
    return build([Part(1.0, (path,))], BuildConfig())


def text_score(scorer: WordScorer, tokens: list[int]) -> float:
    states, score = scorer.start()[None], 0.0
    for token in tokens:
        gains, new = scorer.extend(states, np.array([token], np.int32), np.ones((1, 1), bool))
        score += float(gains[0, 0])
        states = new[:, 0]
    return score + float(scorer.finish(states)[0])


def reference(model: LanguageModel, config: WordConfig, vocabulary: Vocabulary, text: str) -> float:
    """The score of a text by its definition, word by word."""
    score, state = 0.0, np.array([model.begin], np.int32)
    for word in text.split():
        number = model.id_of(word)
        log_prob, state = model.score(state, np.array([number], np.int32))
        score += config.lm_weight * float(log_prob[0]) + config.word_bonus
        if number == 0:
            score -= config.unknown_penalty
            tokens = vocabulary.encode(word)
            score -= config.spelling_penalty * sum(not vocabulary.is_boundary(t) for t in tokens)
    return score + config.lm_weight * float(model.end(state)[0])


@pytest.mark.parametrize("vocabulary", [LETTERS, PIECES, FEW], ids=["letters", "pieces", "few"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(text=st.lists(
    st.sampled_from(["the", "cat", "sat", "he", "th", "cats", "a", "other", "hats", "unseen"]),
    max_size=5,
).map(" ".join))
def test_a_text_scores_what_its_words_score(
    model: LanguageModel, vocabulary: Vocabulary, text: str
) -> None:
    config = WordConfig(lm_weight=0.7, word_bonus=0.3, unknown_penalty=2.0, spelling_penalty=0.5)
    scorer = WordScorer(model, vocabulary, config)
    tokens = vocabulary.encode(text)
    expected = reference(model, config, vocabulary, text)
    assert text_score(scorer, tokens) == pytest.approx(expected, abs=1e-4)
    reweighted = WordScorer(model, vocabulary).with_config(config)
    assert text_score(reweighted, tokens) == pytest.approx(expected, abs=1e-4)
    assert text_score(reweighted, tokens[:1]) == pytest.approx(text_score(scorer, tokens[:1]))


def test_the_trie_spells_each_word_and_knows_the_best_below(model: LanguageModel) -> None:
    words = ["the", "then", "he", "a", "thé"]
    scores = np.array([-2.0, -1.0, -3.0, -4.0, 0.0], np.float32)
    lexicon = Lexicon(words, scores, LETTERS, [10, 11, 12, 13, 14])
    for word, number in zip(words[:4], (10, 11, 12, 13), strict=True):
        node = 0
        for depth, token in enumerate(LETTERS.encode(word), 1):
            node = int(lexicon.child[node, token])
            assert lexicon.depth[node] == depth
        assert lexicon.word[node] == number
    t = int(lexicon.child[0, LETTERS.encode("t")[0]])
    assert lexicon.best[t] == -1.0
    assert lexicon.word[t] == -1


def heard(decoder: BeamDecoder, log_probs: torch.Tensor) -> str:
    stream = decoder.new_stream()
    stream.advance(log_probs)
    return LETTERS.decode(stream.hypothesis(final=True).tokens)


def test_the_language_model_repairs_what_sounds_alike(model: LanguageModel) -> None:
    log_probs = spoken("the cau rao", blur=0.45)
    assert heard(BeamDecoder(), log_probs) == "the cau rao"
    scorer = WordScorer(model, LETTERS, WordConfig(lm_weight=1.0))
    assert heard(BeamDecoder(scorers=[scorer]), log_probs) == "the cat ran"


def test_clear_words_outside_the_lexicon_are_spelled_out(model: LanguageModel) -> None:
    decoder = BeamDecoder(BeamConfig(beam=16), [WordScorer(model, LETTERS)])
    assert heard(decoder, spoken("the xylograph sat")) == "the xylograph sat"


def test_a_second_space_is_no_other_text(model: LanguageModel) -> None:
    decoder = BeamDecoder(BeamConfig(beam=64, beam_threshold=1e3, token_threshold=1e3, top_k=28),
                          [WordScorer(model, LETTERS)])
    stream = decoder.new_stream()
    stream.advance(spoken("a hat"))
    texts = [LETTERS.decode(h.tokens) for h in stream.n_best(64, final=True)]
    assert len(texts) == len(set(texts))
