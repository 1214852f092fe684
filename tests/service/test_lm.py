"""Promises of `asrd lm`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from asr.decoding.lm.arpa import write_arpa
from asr.decoding.lm.corpus import corpus_of
from asr.decoding.lm.estimate import estimate
from asr.decoding.lm.language_model import LanguageModel
from asr.text import normalise
from service.cli import main

LINES = ["Turn on the light.", "turn off the light", "it's a book", "the book is on the table"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES * 5) + "\n")
    return path


def run(*arguments: object) -> int:
    return main(["lm", *map(str, arguments)])


def failure(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The single line of a command that fails with status 1."""
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "asrd: " in line]
    assert out == ""
    assert "Traceback" not in err
    assert len(lines) == 1
    return lines[0]


def test_a_text_becomes_a_model(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "en.lm"
    assert run("build", text, "--output", output) == 0
    assert "3-grams" in capsys.readouterr().out
    model = LanguageModel.load(output)
    assert model.order == 3
    assert set(model.words[3:]) == set(" ".join(map(normalise, LINES)).split())
    likely, unlikely = model.score(
        np.array([model.begin] * 2, np.int32),
        np.array([model.id_of("turn"), model.id_of("table")], np.int32),
    )[0]
    assert likely > unlikely + 1


def test_gzip_and_manifests_are_texts_too(text: Path, tmp_path: Path) -> None:
    packed, manifest = tmp_path / "text.gz", tmp_path / "set.jsonl"
    packed.write_bytes(gzip.compress(text.read_bytes()))
    rows = [{"audio": f"{i}.wav", "text": line} for i, line in enumerate(LINES * 5)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    models = []
    for path in (text, packed, manifest):
        assert run("build", path, "--output", tmp_path / "x.lm") == 0
        models.append((tmp_path / "x.lm").read_bytes())
    assert models[0] == models[1] == models[2]


def test_parts_are_mixed_by_their_weights(text: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("ships sail\n")
    probs = []
    for weight in ("0.1", "0.9"):
        output = tmp_path / "x.lm"
        assert run("build", text, "--part", weight, other, "--output", output) == 0
        model = LanguageModel.load(output)
        probs.append(np.exp(model.unigram_log_probs[model.id_of("ships")]))
    assert probs[1] > 3 * probs[0]


def test_size_order_and_vocabulary_are_kept(text: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.lm"
    options = ("--order", 2, "--max-words", 8, "--max-mb", "0.0085")
    assert run("build", text, "--output", output, *options) == 0
    model = LanguageModel.load(output)
    assert (model.order, len(model.words)) == (2, 8)
    assert output.stat().st_size <= 8500


def test_rare_ngrams_are_dropped(text: Path, tmp_path: Path) -> None:
    counts = []
    for options in ((), ("--min-count", "1,6"), ("--prune", "0.05")):
        assert run("build", text, "--output", tmp_path / "x.lm", *options) == 0
        counts.append(LanguageModel.load(tmp_path / "x.lm").counts)
    assert counts[0][0] == counts[1][0] == counts[2][0]
    assert counts[1][2] < counts[0][2]
    assert counts[2][2] < counts[0][2]


def test_an_arpa_file_is_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arpa, packed = tmp_path / "x.arpa", tmp_path / "x.arpa.gz"
    write_arpa(estimate(corpus_of(["a b c", "a b", "c a"]), 3), arpa)
    packed.write_bytes(gzip.compress(arpa.read_bytes()))
    for path in (arpa, packed):
        assert run("convert", path, "--output", tmp_path / "x.lm") == 0
        assert "6 1-grams" in capsys.readouterr().out
    assert LanguageModel.load(tmp_path / "x.lm").order == 3


def test_perplexity_counts_unknown_words(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, other = tmp_path / "x.lm", tmp_path / "other.txt"
    other.write_text("turn on the zebra\n")
    assert run("build", text, "--output", model) == 0
    capsys.readouterr()
    assert run("perplexity", model, text, other, "--json") == 0
    known, unknown = map(json.loads, capsys.readouterr().out.splitlines())
    assert (known["words"], known["sentences"], known["oov"]) == (85, 20, 0)
    assert known["perplexity"] == known["perplexity_without_oov"] < 4
    assert unknown["oov"] == 0.25
    assert unknown["perplexity"] > unknown["perplexity_without_oov"]
    assert run("perplexity", model, other) == 0
    assert "4 words in 1 sentences, OOV 25.00%" in capsys.readouterr().out


def test_faults_are_one_line_with_file_and_line(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.lm"
    bad, empty, manifest, arpa = (tmp_path / n for n in ("bad", "empty", "m.jsonl", "x.arpa"))
    bad.write_bytes(b"fine\n\xff\n")
    empty.touch()
    manifest.write_text('{"audio": "x"}\n{"audio": 5}\n')
    arpa.write_text("\\data\\\nngram 1=x\n")
    build = ("build", "--output", output)
    assert f"{bad}:2: is not UTF-8" in failure(capsys, *build, bad)
    assert f"{empty}: no sentences" in failure(capsys, *build, empty)
    assert f"{manifest}:2: expected an object" in failure(capsys, *build, manifest)
    assert f"{tmp_path}/none: No such file" in failure(capsys, *build, tmp_path / "none")
    assert "words alone take" in failure(capsys, *build, text, "--max-mb", "0.001")
    assert f"{arpa}:2: 'x' is not a count" in failure(capsys, "convert", arpa, "--output", output)
    assert f"{text}: not a language model" in failure(capsys, "perplexity", text, text)
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no TEXT"),
        (("TEXT", "--part", "1", "TEXT"), "leave nothing"),
        (("--part", "0.5", "TEXT"), "sum to 0.5, not to 1"),
        (("--part", "half", "TEXT"), "'half' is not a number above 0"),
        (("TEXT", "--part", "0.5"), "has no TEXT"),
    ],
)
def test_parts_that_do_not_fit_are_wrong_usage(
    text: Path, tmp_path: Path, options: tuple[str, ...], message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(text) if option == "TEXT" else option for option in options]
    assert run("build", "--output", tmp_path / "x.lm", *given) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [("--order", "0"), ("--order", "11"), ("--min-count", "1,x"), ("--prune", "-1")]
)
def test_numbers_out_of_range_are_wrong_usage(text: Path, option: tuple[str, str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("build", text, "--output", "x.lm", *option)
