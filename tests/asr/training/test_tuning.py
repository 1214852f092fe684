"""Promises of tuning a bundle's search."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr.bundle import MANIFEST, load_bundle, save_bundle, write_search
from asr.decoding.base import TimeShift, TimingConfig
from asr.decoding.commands import CommandConfig
from asr.decoding.decoders import SearchConfig
from asr.decoding.lexicon import WordConfig
from asr.decoding.lm.build import BuildConfig, Part, build
from asr.errors import BundleError
from asr.manifest import Recording, SpokenWord, read_manifest
from asr.streaming import Recognizer
from asr.training.hearing import Heard, listen, search
from asr.training.tuning import (
    BONUSES,
    GRID,
    Commands,
    fit_confidence,
    fit_timing,
    logistic_regression,
    tune_bonus,
    tune_words,
)
from service import rejection
from service.cli import main
from service.rejection import Verdict
from tests.asr.decoding.conftest import LETTERS, faint, spoken
from tests.asr.decoding.grammar.conftest import one_template
from tests.equivalence import babbler

from .conftest import TEXTS

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Babble, and a language model of the four utterances."""
    recognizer = babbler("gru")
    text = tmp_path / "text.txt"
    text.write_text("\n".join(TEXTS) + "\n")
    model = tmp_path / "en.lm"
    build([Part(1.0, (text,))], BuildConfig(order=2)).save(model)
    save_bundle(tmp_path / "model", "babble", recognizer.extractor, recognizer.model,
                recognizer.vocabulary, decoder="lm", language_model=model)
    return tmp_path / "model"


def test_the_network_is_heard_as_a_stream_hears_it(bundle: Path, manifest: Path) -> None:
    loaded = load_bundle(bundle)
    recordings = read_manifest(manifest)
    heard = list(listen(loaded, recordings))
    assert [h.text for h in heard] == list(TEXTS)
    with torch.inference_mode():
        samples, _ = soundfile.read(recordings[0].audio, dtype="float32")
        tail = np.zeros(loaded.extractor.config.tail_samples, np.float32)
        features = loaded.extractor(torch.from_numpy(np.concatenate((samples, tail))))
        step = loaded.model.config.step_frames
        padding = -len(features) % step
        features = torch.nn.functional.pad(features, (0, 0, 0, padding))
        expected, _ = loaded.model(features[None])
    assert torch.allclose(heard[0].letters, expected[0], atol=1e-4)


def test_tuning_writes_settings_that_are_read_again(
    bundle: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = (bundle / "weights.safetensors").read_bytes()
    assert main(["tune", str(bundle), str(manifest), "--keep-words"]) == 0
    assert "written" in capsys.readouterr().out
    tuned = load_bundle(bundle).manifest.search
    assert tuned.confidence is not None
    assert tuned.words == SearchConfig().words
    assert (bundle / "weights.safetensors").read_bytes() == weights
    assert json.loads((bundle / MANIFEST).read_text())["name"] == "babble"


def test_there_must_be_texts_to_tune_on(
    bundle: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"audio": str(r.audio)} for r in read_manifest(manifest)]
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["tune", str(bundle), str(tmp_path / "bare.jsonl")]) == 2
    assert "bare.jsonl: no recording has a text" in capsys.readouterr().err


def test_a_network_that_hears_no_word_leaves_the_confidences_alone(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    silence = torch.full((20, len(LETTERS)), -20.0)
    silence[:, 0] = 0.0
    assert fit_confidence(loaded, loaded.manifest.search, [[Heard("stop", silence)]]) is None


def test_a_model_without_language_model_is_refused(
    bundle: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_bundle(bundle)
    save_bundle(bundle, "plain", loaded.extractor, loaded.model, loaded.vocabulary)
    assert main(["tune", str(bundle), str(manifest)]) == 1
    assert "no language model" in capsys.readouterr().err
    with pytest.raises(BundleError, match="no language model"):
        load_bundle(bundle).language_model()


def test_the_regression_finds_the_probabilities_behind_the_data() -> None:
    rng = np.random.default_rng(1)
    rows = np.column_stack((np.ones(20_000), rng.normal(size=(20_000, 2))))
    weights = np.array([0.5, -1.0, 2.0])
    right = rng.random(20_000) < 1 / (1 + np.exp(-rows @ weights))
    assert logistic_regression(rows, right) == pytest.approx(weights, abs=0.1)


def test_separable_data_gives_finite_weights() -> None:
    rows = np.array([[1.0, -1.0], [1.0, 1.0]])
    assert np.isfinite(logistic_regression(rows, np.array([False, True]))).all()


@pytest.fixture
def heard() -> list[Heard]:
    """The texts as a network might hear them that takes letters for their neighbours."""
    return [Heard(text, spoken(text, blur=0.45).float()) for text in TEXTS]


def test_tuning_ends_no_worse_than_it_began_and_tries_nothing_twice(
    bundle: Path, heard: list[Heard]
) -> None:
    loaded = load_bundle(bundle)
    tried: list[tuple[WordConfig, float]] = []
    found = tune_words(loaded, [heard], lambda config, rate: tried.append((config.words, rate)))
    rates = dict(tried)
    assert len(rates) == len(tried)
    assert tried[0][0] == loaded.manifest.search.words
    assert rates[found.words] == min(rates.values())
    assert {name for name in GRID if len({getattr(w, name) for w, _ in tried}) > 1} == GRID.keys()


@pytest.fixture
def bundle_with_pieces(bundle: Path, tmp_path: Path) -> Path:
    """The same of a model that writes word pieces beside letters."""
    recognizer = babbler("lstm", "word pieces")
    save_bundle(
        tmp_path / "pieces", "babble", recognizer.extractor, recognizer.model,
        recognizer.vocabulary, decoder="lm", language_model=bundle / "language.lm",
        pieces=recognizer.pieces,
    )
    return tmp_path / "pieces"


def test_where_a_model_writes_word_pieces_they_are_what_is_tuned(
    bundle_with_pieces: Path, manifest: Path
) -> None:
    loaded = load_bundle(bundle_with_pieces)
    one = next(iter(listen(loaded, read_manifest(manifest))))
    assert one.pieces is not None
    assert one.pieces.shape == (one.frames, 18)
    decoder = loaded.decoder("lm")
    found = search(decoder, one).hypothesis(final=True)
    assert (found.pieces, found.length) == (True, one.frames)
    spoilt = replace(one, letters=torch.zeros_like(one.letters))
    assert search(decoder, spoilt).hypothesis(final=True) == found
    assert main(["tune", str(bundle_with_pieces), str(manifest), "--keep-words"]) == 0


def written(tokens: Sequence[int], size: int, late: int, rest: int = 0) -> torch.Tensor:
    """Log-probs of tokens, one each second frame from frame `late` on, and a rest of blanks."""
    probs = torch.full((late + 2 * len(tokens) + rest, size), 1e-4)
    probs[:, 0] = 1.0
    for i, token in enumerate(tokens):
        probs[late + 2 * i, 0] = 1e-4
        probs[late + 2 * i, token] = 1.0
    return torch.log(probs / probs.sum(1, keepdim=True))


def test_times_are_corrected_by_the_median_of_what_they_are_off(
    bundle: Path, heard: list[Heard]
) -> None:
    loaded = load_bundle(bundle)
    search = loaded.manifest.search
    known = TimingConfig(TimeShift(0.1, 0.2), TimeShift(0.3, 0.4))
    assert fit_timing(loaded, replace(search, timing=known), [heard]) == known  # nothing is told
    unit = loaded.recognizer(loaded.decoder("lm")).frame_seconds
    late = []
    for text in TEXTS:
        words, at = [], 0
        for word in text.split():
            last = at + 2 * len(word) - 2
            words.append(SpokenWord(word, at * unit - 0.2, (last + 1) * unit - 0.1))
            at = last + 4  # a space is a letter, too
        letters = written(LETTERS.encode(text), len(LETTERS), late=0)
        late.append(Heard(text, letters, tuple(words)))
    timing = fit_timing(loaded, search, [late])
    assert (timing.letters.start, timing.letters.end) == pytest.approx((-0.2, -0.1), abs=unit)
    assert timing.pieces == search.timing.pieces


def test_each_output_has_times_of_its_own(bundle_with_pieces: Path) -> None:
    loaded = load_bundle(bundle_with_pieces)
    assert loaded.pieces is not None
    unit = loaded.recognizer(loaded.decoder("lm")).frame_seconds
    text, late = "all", 5
    one = Heard(
        text, written(LETTERS.encode(text), len(LETTERS), late=2, rest=3),
        (SpokenWord(text, 0.0, 5 * unit),),
        written(loaded.pieces.encode(text), len(loaded.pieces), late),
    )  # fmt: skip
    timing = fit_timing(loaded, loaded.manifest.search, [[one]])
    assert timing.letters.start == pytest.approx(-2 * unit, abs=1e-3)
    assert timing.pieces.start == pytest.approx(-late * unit, abs=1e-3)
    write_search(bundle_with_pieces, replace(loaded.manifest.search, timing=timing))
    assert load_bundle(bundle_with_pieces).manifest.search.timing == timing


def test_the_bonus_of_a_letter_is_that_with_which_most_sentences_are_found() -> None:
    """Of several the middle one."""
    grammar = one_template("make [the] lights red")
    texts = ["make the lights red", "make lights red"]
    heard = [Heard(texts[0], faint(texts[0], "the ", 0.1)), Heard(texts[1], spoken(texts[1]))]
    group = Commands(grammar, heard, [text.__eq__ for text in texts])
    tried: dict[float, float] = {}
    config = tune_bonus(LETTERS, CommandConfig(), [group], tried.__setitem__)
    assert tried == {bonus: 1.0 if bonus > 2.9 else 0.5 for bonus in BONUSES}
    assert config.bonus == 3.5
    never = Commands(grammar, heard, [lambda text: False] * 2)
    for groups in ([never], []):
        assert tune_bonus(LETTERS, CommandConfig(bonus=1.25), groups).bonus == 1.25


def test_a_threshold_is_calibrated_and_written(
    bundle: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def verdicts(
        recognizer: Recognizer, recordings: Sequence[Recording], *, inside: bool, source: str
    ) -> Iterator[Verdict]:
        # babble is never heard right
        for i in range(40):
            yield Verdict(f"{inside}{i}", inside, inside, 0.7 if inside else 2.7, source)

    monkeypatch.setattr(rejection, "judge", verdicts)
    grammar = bundle / "stop.yaml"
    grammar.write_text("intents: {Stop: {data: [{sentences: [stop]}]}}\n")
    options = ["--grammar", str(grammar), str(manifest), "--outside", str(manifest)]
    assert main(["tune", str(bundle), *options]) == 0
    out = capsys.readouterr().out
    assert "the half that took no part" in out
    assert "written: bonus 0.0, threshold" in out
    assert load_bundle(bundle).manifest.search.commands.threshold == pytest.approx(1.7)
    assert load_bundle(bundle).manifest.search.words == SearchConfig().words


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "nothing to tune on"),
        (["--grammar", "home.yaml"], "--grammar needs a grammar and at least one manifest"),
        (["x.jsonl", "--outside", "x.jsonl"], "--outside goes with --grammar"),
    ],
)
def test_what_cannot_be_tuned_on_is_told(
    bundle: Path, capsys: Capture, options: list[str], reason: str
) -> None:
    assert main(["tune", str(bundle), *options]) == 2
    assert reason in capsys.readouterr().err


def test_a_grammar_that_nothing_is_heard_of_right_is_refused(
    bundle: Path, manifest: Path, capsys: Capture
) -> None:
    grammar = bundle / "stop.yaml"
    grammar.write_text("intents: {Stop: {data: [{sentences: [stop]}]}}\n")
    assert main(["tune", str(bundle), "--grammar", str(grammar), str(manifest)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "needs recordings of commands that are heard right" in err
