"""A recogniser whose every word is a tone, so that the tests know what it must hear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr.bundle import Bundle, Manifest
from asr.decoding.base import Decoder
from asr.decoding.greedy import GreedyDecoder
from asr.decoding.hotwords import Hotword
from asr.features import FeatureConfig, FeatureExtractor
from asr.locations import MODEL_VARIABLE
from asr.model import AcousticModel, ModelConfig, ModelState
from asr.streaming import Recognizer
from asr.vocabulary import BLANK_ID, WORD_START, Vocabulary

RATE = 16_000
TONES = {"a": 500.0, "b": 1000.0, "c": 2000.0, "d": 4000.0}
"""Hz, by the letter that the recogniser writes for it."""


class ToneModel(nn.Module):
    """Writes the letter of the loudest tone, a word boundary where it ends, blanks in silence."""

    def __init__(self, extractor: FeatureExtractor, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config = ModelConfig(hidden_size=4, n_layers=1, stack=1, emissions=1)
        self.boundary = vocabulary.tokens.index(WORD_START)
        bins = {}
        for letter, hertz in TONES.items():
            wave = torch.sin(2 * torch.pi * hertz * torch.arange(1600) / RATE)
            loudest = int(extractor(wave).mean(0).argmax())
            bins[loudest] = vocabulary.tokens.index(letter)
        self.bins = bins

    def initial_state(self, batch: int = 1) -> ModelState:
        return (torch.zeros(batch, 1),)

    def forward(self, features: Tensor, state: ModelState) -> tuple[Tensor, ModelState]:
        batch, frames, _ = features.shape
        log_probs = torch.full((batch, frames // 4, self.config.vocab_size), -10.0)
        heard = state[0].clone()
        for row, stream in enumerate(features):
            for i, frame in enumerate(stream.reshape(frames // 4, 4, -1).mean(1)):
                loud = bool(frame.max() > -1)
                nearest = min(self.bins, key=lambda b: abs(b - int(frame.argmax())))
                ended = self.boundary if heard[row] else BLANK_ID
                log_probs[row, i, self.bins[nearest] if loud else ended] = -0.1
                heard[row] = float(loud)
        return log_probs, (heard,)


def make_bundle(path: Path | None = None) -> Bundle:
    """Hears tones: each is a letter, each run of tones a word."""
    extractor, vocabulary = FeatureExtractor(FeatureConfig()), Vocabulary.letters()
    model: Any = ToneModel(extractor, vocabulary)
    manifest = Manifest("tones", {}, extractor.config, model.config)
    return Bundle(manifest, extractor, model, vocabulary, path or Path("tones"))


@pytest.fixture(scope="session")
def recognizer() -> Recognizer:
    """That of `make_bundle`, decoding greedily."""
    torch.set_num_threads(1)
    bundle = make_bundle()
    return Recognizer(bundle.extractor, bundle.model, bundle.vocabulary, bundle.decoder())


@pytest.fixture(scope="session")
def noisy_recognizer() -> Recognizer:
    """Random weights of the real architecture: babble, yet always the same."""
    torch.manual_seed(1)
    config = ModelConfig(cell="gru", conv_channels=4, hidden_size=24, n_layers=1, lookahead=1)
    model = AcousticModel(config)
    torch.nn.init.normal_(model.output.weight, std=3.0)
    extractor = FeatureExtractor(FeatureConfig())
    return Recognizer(extractor, model, Vocabulary.letters(), GreedyDecoder())


Speech = Callable[..., NDArray[np.float32]]


def _speech(
    text: str, tone: float = 0.2, gap: float = 0.2, rate: int = RATE
) -> NDArray[np.float32]:
    parts = [np.zeros(round(0.1 * rate))]
    for letter in text:
        if letter in TONES:
            time = np.arange(round(tone * rate)) / rate
            parts.append(0.5 * np.sin(2 * np.pi * TONES[letter] * time))
        else:
            parts.append(np.zeros(round((gap if letter == " " else 1.5) * rate)))
    parts.append(np.zeros(round(0.1 * rate)))
    return np.concatenate(parts).astype(np.float32)


@pytest.fixture(scope="session")
def speech() -> Speech:
    """Tones for letters; silence of `gap` seconds for a space, 1.5 s for a full stop."""
    return _speech


@pytest.fixture
def say(tmp_path: Path) -> Callable[..., Path]:
    """Write tones into a file below `tmp_path` and give its path."""

    def write(name: str, text: str = "ab c", rate: int = RATE, **options: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, _speech(text, rate=rate), rate, **options)
        return path

    return write


DEFAULT_MODEL = Path("the/default/model")


@pytest.fixture
def bundled(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Make every bundle the tone recogniser's; the list holds what was asked for."""
    asked: list[dict[str, Any]] = []

    class AskedBundle(Bundle):
        def decoder(self, name: str | None = None, hotwords: Sequence[Hotword] = ()) -> Decoder:
            asked.append({"path": self.path, "decoder": name})
            return super().decoder(name, hotwords)

    def load_bundle(path: Path) -> Bundle:
        return AskedBundle(**vars(make_bundle(path)))

    monkeypatch.setattr("asr.bundle.load_bundle", load_bundle)
    monkeypatch.setenv(MODEL_VARIABLE, str(DEFAULT_MODEL))
    return asked
