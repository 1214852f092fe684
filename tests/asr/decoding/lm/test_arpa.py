"""Promises of the ARPA reader: every dialect is read, every fault is named with its line."""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path

import numpy as np
import pytest

from asr.decoding.lm.arpa import read_arpa, write_arpa
from asr.decoding.lm.corpus import corpus_of
from asr.decoding.lm.estimate import estimate
from asr.decoding.lm.ngrams import NEVER, NGrams
from asr.errors import LanguageModelError

PLAIN = """\
\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.3
-0.8\t</s>
-0.7\ta\t-0.2
-0.6\tb\t-0.1

\\2-grams:
-0.3\t<s> a\t-0.05
-0.4\ta b
-0.2\tb </s>

\\3-grams:
-0.1\t<s> a b

\\end\\
"""


def read(tmp_path: Path, text: str) -> NGrams:
    path = tmp_path / "x.arpa"
    path.write_text(text, encoding="utf-8")
    return read_arpa(path)


def same(one: NGrams, other: NGrams) -> bool:
    arrays = ("parents", "words", "log_probs", "backoffs")
    return (one.vocabulary, one.levels) == (other.vocabulary, other.levels) and all(
        np.allclose(getattr(one, name), getattr(other, name), atol=1e-6) for name in arrays
    )


def log_10(model: NGrams, text: str) -> float:
    """Log-probability of the last word behind the others."""
    state = np.zeros(1, np.int64)
    for word in text.split():
        log_prob, state = model.score(state, np.array([model.vocabulary.index(word)]))
    return float(log_prob[0]) / math.log(10)


def test_probabilities_and_back_offs_are_read(tmp_path: Path) -> None:
    model = read(tmp_path, PLAIN)
    assert model.order == 3
    assert model.vocabulary == ("<unk>", "<s>", "</s>", "a", "b")
    assert log_10(model, "<s> a b") == pytest.approx(-0.1)
    assert log_10(model, "<s> a </s>") == pytest.approx(-0.05 - 0.2 - 0.8)
    assert log_10(model, "a a") == pytest.approx(-0.2 - 0.7)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\t", " "),  # SRILM parts by tabs, KenLM reads both
        ("\t", "  \t"),
        ("\n", "\r\n"),
        ("\n\n", "\n"),  # without blank lines
        ("ngram 1=5", "ngram  1 = 5"),
        ("\\data\\", "a comment of the toolkit\n\n\\data\\"),
        ("-0.4\ta b", "-0.4\ta b\t0"),  # KenLM writes every back-off
        ("<unk>", "<UNK>"),
        ("<s>", "<S>"),
        ("-99", "-inf"),
        ("\\end\\\n", "\\end\\"),
    ],
)
def test_dialects_mean_the_same(tmp_path: Path, old: str, new: str) -> None:
    assert old in PLAIN
    assert same(read(tmp_path, PLAIN.replace(old, new)), read(tmp_path, PLAIN))


def test_gzip_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(gzip.compress(PLAIN.encode()))
    assert same(read_arpa(path), read(tmp_path, PLAIN))


def test_an_upper_case_model_speaks_lower_case(tmp_path: Path) -> None:
    upper = re.sub(r"\ba\b", "HELLO", re.sub(r"\bb\b", "IT'S", PLAIN))
    assert read(tmp_path, upper).vocabulary[3:] == ("hello", "it's")
    mixed = upper.replace("IT'S", "It's")
    assert read(tmp_path, mixed).vocabulary[3:] == ("HELLO", "It's")


def test_absent_special_words_are_never_predicted(tmp_path: Path) -> None:
    model = read(tmp_path, "\\data\\\nngram 1=1\n\\1-grams:\n0\ta\n\\end\\\n")
    assert model.vocabulary == ("<unk>", "<s>", "</s>", "a")
    assert model.log_probs[1:].tolist() == [NEVER, NEVER, NEVER, 0.0]


def test_contexts_that_were_pruned_come_back(tmp_path: Path) -> None:
    pruned = PLAIN.replace("-0.3\t<s> a\t-0.05\n", "").replace("ngram 2=3", "ngram 2=2")
    model = read(tmp_path, pruned)
    assert log_10(model, "<s> a") == pytest.approx(-0.3 - 0.7)
    assert log_10(model, "<s> a b") == pytest.approx(-0.1)
    assert log_10(model, "<s> a a") == pytest.approx(-0.2 - 0.7)


def test_words_may_hold_rare_white_space(tmp_path: Path) -> None:
    model = read(tmp_path, PLAIN.replace("b", "b\u00a0\u2028c"))
    assert model.vocabulary[4] == "b\u00a0\u2028c"


def test_what_is_written_reads_the_same(tmp_path: Path) -> None:
    for model in (
        read(tmp_path, PLAIN), estimate(corpus_of(["a b c a", "b b a", "c c d e"]), 4)
    ):
        write_arpa(model, tmp_path / "y.arpa")
        again = read_arpa(tmp_path / "y.arpa")
        assert same(model, again)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("\\data\\\n", "", 20, "no .data. line"),
        ("ngram 1=5\nngram 2=3\nngram 3=1\n", "", 3, "no 'ngram 1=...' line"),
        ("ngram 2=3", "ngram 3=3", 3, "expected 'ngram 2=COUNT'"),
        ("ngram 2=3", "ngram 2=x", 3, "'x' is not a count"),
        ("ngram 2=3", "ngram 2=-3", 3, "'-3' is not a count"),
        ("ngram 2=3", "ngram 2=4", 18, "3 2-grams end here, the header says 4"),
        ("ngram 2=3", "ngram 2=2", 18, "3 2-grams end here, the header says 2"),
        ("ngram 3=1\n", "", 17, "expected .end., found '.3-grams:'"),
        ("\\2-grams:", "\\3-grams:", 13, "expected '.2-grams:', found '.3-grams:'"),
        ("-0.4\ta b", "-0.4\ta", 15, "expected a number, 2 words and a back-off"),
        ("-0.4\ta b", "-0.4\ta b a a", 15, "expected a number, 2 words and a back-off"),
        ("-0.4\ta b", "zero\ta b", 15, "'zero' is not a number"),
        ("<s> a\t-0.05", "<s> a\t-0,05", 14, "'-0,05' is not a number"),
        ("-0.4\ta b", "nan\ta b", 15, "'nan' is not a usable number"),
        ("-0.4\ta b", "0.4\ta b", 15, "log-probability 0.4 is above 0"),
        ("-0.4\ta b", "-0.4\ta z", 15, "'z' is not among the 1-grams"),
        ("-0.4\ta b", "-0.4\t<s> a", 15, "stood above already"),
        ("-0.6\tb", "-0.6\ta", 11, "stood above already"),
        ("\\end\\\n", "", 20, "ends without .end."),
        ("\\data\\", "iARPA\n\\data\\", 1, "iARPA is no plain ARPA"),
    ],
)
def test_faults_are_named_with_their_line(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    assert old in PLAIN
    with pytest.raises(LanguageModelError, match=rf"x\.arpa:{line}: .*{message}"):
        read(tmp_path, PLAIN.replace(old, new, 1))


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    for size in range(0, len(PLAIN) - 2, 3):
        with pytest.raises(LanguageModelError, match=r"x\.arpa:\d+: "):
            read(tmp_path, PLAIN[:size])


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.arpa"
    path.write_bytes(b"\\data\\\n\xff\xfe\n")
    with pytest.raises(LanguageModelError, match=r"x\.arpa:2: is not UTF-8"):
        read_arpa(path)
    path.write_bytes(gzip.compress(PLAIN.encode())[:-20])
    with pytest.raises(LanguageModelError, match="damaged gzip"):
        read_arpa(path)
    with pytest.raises(LanguageModelError, match="No such file"):
        read_arpa(tmp_path / "none.arpa")
