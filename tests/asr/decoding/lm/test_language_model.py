"""Promises of the language model: Katz's rule, its file, and what quantisation costs."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.decoding.lm import file as model_file
from asr.decoding.lm.arpa import read_arpa
from asr.decoding.lm.corpus import corpus_of
from asr.decoding.lm.estimate import estimate
from asr.decoding.lm.language_model import LanguageModel
from asr.decoding.lm.ngrams import NGrams
from asr.errors import LanguageModelError

from .reference import Entry, NGram, sentence_log_probs, write

WORDS = ("<unk>", "<s>", "</s>", "a", "b", "c")
TEXT = ["a b c", "a b", "b c a", "a b c a", "c", "a a b", "d e f g", "b a d"] * 3


def random_entries(order: int, random: Random) -> dict[NGram, Entry]:
    """N-grams whose contexts and endings may be missing."""

    def entry() -> Entry:
        return round(random.uniform(-3, 0), 3), random.choice([0.0, round(random.random(), 3)])

    entries = {(word,): entry() for word in WORDS}
    for k in range(2, order + 1):
        for _ in range(random.randint(0, 12)):
            entries[tuple(random.choices(WORDS, k=k))] = entry()
    return entries


@settings(
    max_examples=25, derandomize=True, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(1, 4), st.integers(0, 1 << 32))
def test_scores_follow_the_rule_of_back_off(tmp_path: Path, order: int, seed: int) -> None:
    random = Random(seed)
    entries = random_entries(order, random)
    sentences = [random.choices(WORDS, k=6) for _ in range(8)]
    exact = read_arpa(write(tmp_path / "x.arpa", entries, order))
    compact = LanguageModel.from_ngrams(exact)
    for context, start in (((), 0), (("<s>",), None)):
        wanted = np.array([sentence_log_probs(entries, order, context, s) for s in sentences])
        begin = compact.begin if start is None else compact.empty
        states = np.full(len(sentences), begin, np.int32)
        exact_states = np.full(len(sentences), 2 if context and order > 1 else 0)
        for i in range(6):
            words = np.array([compact.id_of(s[i]) for s in sentences], np.int32)
            log_probs, states = compact.score(states, words)
            exact_log_probs, exact_states = exact.score(exact_states, words)
            np.testing.assert_allclose(exact_log_probs, wanted[:, i], atol=1e-9)
            # one probability and the back-offs on the way, each of at most 3 decades
            bound = order * 3 * np.log(10) / 254 + 1e-4
            np.testing.assert_allclose(log_probs, wanted[:, i], atol=bound)


@pytest.fixture(scope="module")
def exact() -> NGrams:
    return estimate(corpus_of(TEXT), 3)


@pytest.fixture(scope="module")
def model(exact: NGrams) -> LanguageModel:
    return LanguageModel.from_ngrams(exact)


@pytest.fixture
def file(model: LanguageModel, tmp_path: Path) -> Path:
    path = tmp_path / "en.lm"
    model.save(path)
    return path


def every_score(model: LanguageModel) -> dict[NGram, float]:
    """Scores of every word behind every two words."""
    n, result = len(model.words), {}
    everything = np.arange(n, dtype=np.int32)
    for first in range(n):
        start = model.begin if first == 1 else model.empty
        _, after = model.score(np.full(n, start, np.int32), np.full(n, first, np.int32))
        states = np.full(n, start, np.int32) if first == 1 else after
        _, states = model.score(states, everything)
        for second in range(n):
            scores, _ = model.score(np.full(n, states[second], np.int32), everything)
            for third in range(n):
                key = (model.words[first], model.words[second], model.words[third])
                result[key] = float(scores[third])
    return result


def test_a_loaded_model_scores_as_the_saved_one(model: LanguageModel, file: Path) -> None:
    loaded = LanguageModel.load(file)
    assert loaded.words == model.words
    assert (loaded.order, loaded.counts, loaded.begin) == (3, model.counts, model.begin)
    assert every_score(loaded) == every_score(model)
    assert file.stat().st_size == model.nbytes == loaded.nbytes


def test_a_loaded_model_stays_in_its_file(file: Path) -> None:
    codes = LanguageModel.load(file)._codes
    base: object = codes
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
        if isinstance(base, memoryview):
            base = base.obj
    assert not codes.flags.owndata
    assert not codes.flags.writeable
    assert isinstance(base, np.memmap)


def test_saving_over_a_model_in_use_does_not_disturb_it(file: Path) -> None:
    loaded = LanguageModel.load(file)
    before = every_score(loaded)
    LanguageModel.from_ngrams(estimate(corpus_of(["other words"]), 2)).save(file)
    assert every_score(loaded) == before


def test_quantised_probabilities_still_sum_to_one(model: LanguageModel) -> None:
    scores = every_score(model)
    for first in model.words:
        for second in model.words:
            total = sum(np.exp(scores[first, second, w]) for w in model.words if w != "<s>")
            assert total == pytest.approx(1, abs=0.02)


def test_quantisation_stays_within_a_step(exact: NGrams) -> None:
    tables = model_file.pack(exact)
    books = tables.arrays["prob_books"].reshape(-1, model_file.LEVELS)
    for k in range(3):
        level = slice(exact.levels[k + 1], exact.levels[k + 2])
        values = exact.log_probs[level]
        read = books[k][tables.arrays["prob_codes"][level.start - 1 : level.stop - 1]]
        usual = values[values > model_file.BAD]
        step = (usual.max() - usual.min()) / 254
        assert np.abs(read - values).max() <= step + 1e-4


def test_one_word_that_is_never_said_does_not_coarsen_the_others(model: LanguageModel) -> None:
    assert model.unigram_log_probs[1] < -200
    np.testing.assert_allclose(np.exp(model.unigram_log_probs).sum(), 1, atol=0.01)


def test_an_unknown_word_is_word_0(model: LanguageModel) -> None:
    assert model.id_of("zebra") == 0
    assert model.words[:3] == ("<unk>", "<s>", "</s>")
    assert [model.id_of(word) for word in model.words] == list(range(len(model.words)))


def test_ends_are_scored_as_the_word_that_ends(model: LanguageModel) -> None:
    states = np.array([model.begin, model.empty], np.int32)
    assert model.end(states).tolist() == model.score(states, np.array([2, 2], np.int32))[0].tolist()


def test_scores_of_one_call_do_not_touch_each_other(model: LanguageModel) -> None:
    n = len(model.words)
    words = np.arange(n, dtype=np.int32)
    together, states = model.score(np.full(n, model.begin, np.int32), words)
    for i in range(n):
        alone, state = model.score(np.array([model.begin], np.int32), words[i : i + 1])
        assert (alone[0], state[0]) == (together[i], states[i])
    assert together.dtype == np.float32
    assert states.dtype == np.int32


def test_no_words_give_no_scores(model: LanguageModel) -> None:
    log_probs, states = model.score(np.empty(0, np.int32), np.empty(0, np.int32))
    assert len(log_probs) == len(states) == 0


def test_histories_that_predict_the_same_share_a_state(model: LanguageModel) -> None:
    # nothing was ever heard behind `</s>`: it is as good as no word
    _, states = model.score(np.array([model.begin], np.int32), np.array([2], np.int32))
    assert states[0] == model.empty


def test_large_vocabularies_take_wider_ids() -> None:
    words = [f"w{i}" for i in range(66_000)]
    exact = estimate(corpus_of([" ".join(words)]), 2)
    model = LanguageModel.from_ngrams(exact)
    state = np.array([1 + model.id_of("w65998")], np.int32)
    log_probs, _ = model.score(state, np.array([model.id_of("w65999")], np.int32))
    wanted, _ = exact.score(state, np.array([model.id_of("w65999")], np.int32))
    assert log_probs[0] == pytest.approx(wanted[0], abs=0.05)


@pytest.mark.parametrize("size", [0, 7, 15, 40, 300, -200, -1])
def test_a_truncated_file_is_refused(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(LanguageModelError, match=r"en\.lm: (not a language model|truncated|dam)"):
        LanguageModel.load(file)


def test_any_changed_byte_is_noticed(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for at in range(0, len(data), 97):
        if data[at] == ord(" "):  # blanks of the header mean nothing
            continue
        changed = data.copy()
        changed[at] ^= 0x55
        file.write_bytes(changed)
        with pytest.raises(LanguageModelError, match=r"en\.lm: "):
            LanguageModel.load(file)


def test_another_version_is_refused(file: Path) -> None:
    data = bytearray(file.read_bytes())
    struct.pack_into("<I", data, 8, 2)
    file.write_bytes(data)
    with pytest.raises(LanguageModelError, match="format version 2, this asrd reads version 1"):
        LanguageModel.load(file)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.lm"
    path.write_text("\\data\\\nngram 1=3\n")
    with pytest.raises(LanguageModelError, match=r"x\.lm: not a language model .* lm convert"):
        LanguageModel.load(path)
    with pytest.raises(LanguageModelError, match="No such file"):
        LanguageModel.load(tmp_path / "none.lm")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": [0, 1, 4]}, "do not fit together"),
        ({"levels": []}, "damaged header"),
        ({"arrays": {}}, "damaged header"),
        ({"arrays": {"words": ["<f8", 0, 1]}}, "damaged header"),
        ({"arrays": {"words": ["u1", 0, 1 << 40]}}, "damaged header"),
        ({"size": "x"}, "damaged|truncated"),
    ],
)
def test_headers_that_lie_are_refused(
    file: Path, change: dict[str, object], message: str
) -> None:
    data = file.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    header = json.loads(data[16 : 16 + length]) | change
    text = json.dumps(header).encode().ljust(length)
    file.write_bytes(data[:12] + struct.pack("<I", len(text)) + text + data[16 + length :])
    with pytest.raises(LanguageModelError, match=message):
        LanguageModel.load(file)


def test_n_grams_taken_out_score_as_the_model(model: LanguageModel) -> None:
    assert every_score(LanguageModel.from_ngrams(model.to_ngrams())) == every_score(model)
