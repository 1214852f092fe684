"""Promises of tuning a bundle's search."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr.bundle import MANIFEST, load_bundle, save_bundle
from asr.decoding.decoders import SearchConfig
from asr.decoding.lm.build import BuildConfig, Part, build
from asr.errors import BundleError
from asr.manifest import read_manifest
from asr.training.tuning import listen, logistic_regression
from service.cli import main
from tests.equivalence import babbler

from .conftest import TEXTS


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
    assert torch.allclose(heard[0].log_probs, expected[0], atol=1e-4)


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
