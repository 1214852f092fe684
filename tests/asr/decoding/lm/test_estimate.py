"""Promises of estimation: Kneser-Ney as published, sums of 1, pruning and mixing."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.decoding.lm.build import BuildConfig, Part, build, shrink, steps
from asr.decoding.lm.corpus import choose_vocabulary, corpus_of, read_corpora, restrict
from asr.decoding.lm.estimate import FALLBACK_DISCOUNTS, estimate
from asr.decoding.lm.language_model import LanguageModel
from asr.decoding.lm.mix import interpolate
from asr.decoding.lm.ngrams import NGrams
from asr.decoding.lm.perplexity import perplexity
from asr.decoding.lm.prune import keep_nodes, losses, prune_below, prune_to_bytes
from asr.errors import ConfigError, LanguageModelError

from .reference import kneser_ney

LETTERS = "abcdefgh"
TINY = ["a b c", "a b", "b c a", "a b d"]


def random_text(seed: int, sentences: int = 300) -> list[str]:
    """Words of very uneven frequency, with habits."""
    random = Random(seed)
    text = []
    for _ in range(sentences):
        words = [random.randint(0, 9)]
        while random.random() < 0.85:
            words.append((words[-1] * 3 + int(random.expovariate(0.3))) % 40)
        text.append(" ".join(LETTERS[word // 8] + LETTERS[word % 8] for word in words))
    return text


def scores(model: NGrams, context: str) -> NDArray[np.float64]:
    """Probability of every word behind the words of `context`."""
    state, n = np.zeros(1, np.int64), len(model.vocabulary)
    for word in context.split():
        _, state = model.score(state, np.array([model.vocabulary.index(word)]))
    log_probs, _ = model.score(np.repeat(state, n), np.arange(n))
    return np.exp(log_probs)


def contexts(model: NGrams, seed: int = 1) -> list[str]:
    """Some contexts, seen and unseen, of no to three words."""
    random = Random(seed)
    words = [word for word in model.vocabulary if word != "</s>"]
    return ["", "<s>", "<unk>"] + [" ".join(random.choices(words, k=3)) for _ in range(60)]


def assert_sums_to_1(model: NGrams) -> None:
    for context in contexts(model):
        assert scores(model, context).sum() == pytest.approx(1, abs=1e-9), context


@pytest.fixture(scope="module")
def model() -> NGrams:
    return estimate(corpus_of(random_text(0)), 3)


def test_kneser_ney_by_hand() -> None:
    # the 2-grams: <s> a (2), a b (2), b </s>, <s> b, b c, c </s>; too few for own discounts
    result = estimate(corpus_of(["a b", "a b", "b c"]), 2)
    d1, d2, d3 = FALLBACK_DISCOUNTS
    # distinct words before: a 1 (<s>), b 2 (a, <s>), c 1 (b), </s> 2 (b, c); 4 words and <unk>
    uniform = (2 * d1 + 2 * d2) / 6 / 5
    unigram = {
        "a": (1 - d1) / 6 + uniform, "b": (2 - d2) / 6 + uniform, "c": (1 - d1) / 6 + uniform,
        "</s>": (2 - d2) / 6 + uniform, "<unk>": uniform,
    }
    def probs(context: str) -> dict[str, float]:
        return dict(zip(result.vocabulary, scores(result, context), strict=True))

    for word, prob in unigram.items():
        assert probs("")[word] == pytest.approx(prob)
    # behind b stand </s> twice and c once
    weight = (d2 + d1) / 3
    assert probs("b")["</s>"] == pytest.approx((2 - d2) / 3 + weight * unigram["</s>"])
    assert probs("b")["c"] == pytest.approx((1 - d1) / 3 + weight * unigram["c"])
    assert probs("b")["a"] == pytest.approx(weight * unigram["a"])
    assert d3 == 1.5


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_kneser_ney_equals_its_definition(order: int) -> None:
    result = estimate(corpus_of(TINY), order)
    for (context, word), prob in kneser_ney(TINY, order, (0, *FALLBACK_DISCOUNTS)).items():
        found = scores(result, " ".join(context))[result.vocabulary.index(word)]
        assert found == pytest.approx(prob), (context, word)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_sum_to_one(order: int) -> None:
    assert_sums_to_1(estimate(corpus_of(random_text(0)), order))


def test_dropping_rare_ngrams_keeps_the_sums() -> None:
    corpus = corpus_of(random_text(0))
    whole, part = estimate(corpus, 3), estimate(corpus, 3, min_counts=(1, 3))
    assert whole.levels[:4] == part.levels[:4]
    assert part.levels[4] - part.levels[3] < (whole.levels[4] - whole.levels[3]) / 3
    assert_sums_to_1(part)


def test_pruning_keeps_the_sums(model: NGrams) -> None:
    for threshold in (1e-6, 1e-4, 1e-2):
        assert_sums_to_1(prune_below(model, threshold))


def test_pruning_nothing_changes_nothing(model: NGrams) -> None:
    whole = prune_below(model, -1.0)
    np.testing.assert_allclose(whole.backoffs, model.backoffs, atol=1e-9)
    assert whole.levels == model.levels


def test_the_loss_is_the_relative_entropy(model: NGrams) -> None:
    """Of the top order, where an n-gram's absence changes one context only."""
    assert model.frequencies is not None
    loss = losses(model)
    for node in range(model.levels[3], model.levels[4], 97):
        parent = model.parents[node]
        context = f"{model.vocabulary[model.words[model.parents[parent]]]} "
        context += model.vocabulary[model.words[parent]]
        keep = np.arange(model.levels[4]) != node
        with_it, without = scores(model, context), scores(keep_nodes(model, keep), context)
        said = with_it > 1e-90
        divergence = np.sum(with_it[said] * np.log(with_it[said] / without[said]))
        assert loss[node] == pytest.approx(model.frequencies[parent] * divergence, abs=1e-12)


def test_pruning_by_loss_beats_pruning_by_chance(model: NGrams) -> None:
    corpus, half = corpus_of(random_text(0)), 0.4
    loss = losses(model)
    budget = int(3 * len(loss) * half)
    chosen = prune_to_bytes(model, loss, budget)
    chance = np.random.default_rng(0).random(len(loss))
    chance[: model.levels[2]] = np.inf
    for k in (3,):
        level = slice(model.levels[k], model.levels[k + 1])
        np.maximum.at(chance, model.parents[level], chance[level])
    random = prune_to_bytes(model, chance, budget)
    sizes = [
        perplexity(LanguageModel.from_ngrams(m), corpus).with_unknown
        for m in (model, chosen, random)
    ]
    assert sizes[0] < sizes[1] < 0.9 * sizes[2]


def test_the_file_is_as_small_as_asked(model: NGrams) -> None:
    whole = LanguageModel.from_ngrams(model).nbytes
    for limit in range(whole, 8000, -500):
        small = shrink(model, BuildConfig(max_bytes=limit)).nbytes
        assert limit - 400 < small <= limit
    with pytest.raises(ConfigError, match=r"43 words alone take 0\.01 MB, more than"):
        shrink(model, BuildConfig(max_bytes=1000))


def test_mixtures_sum_to_one(model: NGrams) -> None:
    other = restrict(corpus_of(random_text(1, 40)), model.vocabulary)
    assert_sums_to_1(interpolate([model, estimate(other, 3)], [0.7, 0.3]))


def test_a_mixture_of_equals_is_the_same(model: NGrams) -> None:
    mixed = interpolate([model, model], [0.25, 0.75])
    assert mixed.levels == model.levels
    np.testing.assert_allclose(mixed.log_probs, model.log_probs, atol=1e-9)
    np.testing.assert_allclose(mixed.backoffs, model.backoffs, atol=1e-6)


def test_a_mixture_trusts_the_model_that_knows_the_context() -> None:
    texts = [corpus_of(["light on", "light off", "fan on"]), corpus_of(["once upon a time"])]
    vocabulary = tuple(dict.fromkeys(texts[0].vocabulary + texts[1].vocabulary))
    parts = [estimate(restrict(text, vocabulary), 3) for text in texts]
    mixed = interpolate(parts, [0.5, 0.5])
    # without context both count alike, behind their own words each speaks for itself
    on, once, upon = (vocabulary.index(w) for w in ("on", "once", "upon"))
    expected = (scores(parts[0], "")[on] + scores(parts[1], "")[on]) / 2
    assert scores(mixed, "")[on] == pytest.approx(expected)
    plain = (scores(parts[0], "once")[upon] + scores(parts[1], "once")[upon]) / 2
    assert scores(mixed, "once")[upon] > 1.4 * plain
    assert scores(mixed, "<s>")[once] == pytest.approx(
        (scores(parts[0], "<s>")[once] + scores(parts[1], "<s>")[once]) / 2
    )


@pytest.mark.parametrize("text", [["a"], ["a a a a"], ["a", "b"], ["a b"] * 50])
def test_texts_too_small_for_discounts_give_a_model(text: list[str]) -> None:
    for order in (1, 3, 4):
        assert_sums_to_1(estimate(corpus_of(text), order))


def test_an_empty_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match="no sentences"):
        estimate(corpus_of([]), 3)
    path = tmp_path / "empty.txt"
    path.write_text("\n123\n")
    with pytest.raises(LanguageModelError, match=r"empty\.txt: no sentences"):
        read_corpora([[path]])


def test_the_vocabulary_holds_the_most_frequent_words() -> None:
    corpora = [corpus_of(["a a a b b c"])]
    assert choose_vocabulary(corpora, [1.0], max_words=5, min_count=1)[3:] == ("a", "b")
    assert choose_vocabulary(corpora, [1.0], max_words=None, min_count=2)[3:] == ("a", "b")
    assert choose_vocabulary(corpora, [1.0], max_words=2, min_count=1) == ("<unk>", "<s>", "</s>")


def test_words_outside_the_vocabulary_are_learnt_as_unknown() -> None:
    corpus = restrict(corpus_of(["a x", "a y", "a z", "b"]), ("<unk>", "<s>", "</s>", "a", "b"))
    result = estimate(corpus, 2)
    assert scores(result, "a")[0] > 0.5
    judged = perplexity(LanguageModel.from_ngrams(result), corpus_of(["a q", "b"]))
    assert (judged.words, judged.unknown, judged.sentences) == (3, 1, 2)
    assert judged.oov_rate == pytest.approx(1 / 3)


def test_perplexity_is_that_of_the_scores(model: NGrams) -> None:
    compact = LanguageModel.from_ngrams(model)
    text = random_text(2, 5)
    total, n = 0.0, 0
    for sentence in text:
        state = np.array([compact.begin], np.int32)
        for word in [*sentence.split(), "</s>"]:
            log_prob, state = compact.score(state, np.array([compact.id_of(word)], np.int32))
            total, n = total + float(log_prob[0]), n + 1
    judged = perplexity(compact, corpus_of(text))
    assert judged.with_unknown == pytest.approx(np.exp(-total / n), rel=1e-4)


def test_building_counts_its_steps(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    for seed, path in enumerate(paths):
        path.write_text("\n".join(random_text(seed, 30)))
    parts = [Part(0.6, tuple(paths[:2])), Part(0.4, tuple(paths[2:]))]
    done: list[str] = []
    result = build(parts, BuildConfig(max_words=30), done.append)
    assert len(done) == steps(parts)
    assert len(result.words) == 30
    with pytest.raises(ConfigError, match="sum to 1"):
        build(parts[:1], BuildConfig())
