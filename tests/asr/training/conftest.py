"""A corpus anyone can make: every letter is a tone of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.features import FeatureConfig
from asr.model import ModelConfig
from asr.training.config import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    RunConfig,
    TrainConfig,
)

TEXTS = ("turn on the light", "what time is it", "stop", "good morning all")
LETTER_SECONDS = 0.12
NO_AUGMENT = AugmentConfig(
    speeds=(1.0,), gain_low=0.0, gain_high=0.0, noise=0.0, rooms=0.0, lead=0.0, trail=0.0,
    time_masks=0, frequency_masks=0,
)


def spell(text: str, rate: int = 16_000) -> np.ndarray:
    """A tone for each letter, silence for each space."""
    t = np.arange(round(LETTER_SECONDS * rate)) / rate
    fade = np.sin(np.pi * t / LETTER_SECONDS)
    pieces = [
        np.zeros_like(t) if c == " " else fade * np.sin(2 * np.pi * (200 + 110 * (ord(c) - 97)) * t)
        for c in text
    ]
    return (0.3 * np.concatenate(pieces)).astype(np.float32)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Four utterances."""
    rows = []
    for i, text in enumerate(TEXTS):
        soundfile.write(tmp_path / f"{i}.wav", spell(text), 16_000)
        row = {"audio": f"{i}.wav", "text": text, "speaker": f"s{i % 2}", "seconds": 2.0}
        rows.append(json.dumps(row))
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def make_config(manifest: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """Settings of a small run on the four utterances."""

    def make(
        *,
        model: ModelConfig | None = None,
        run: dict[str, object] | None = None,
        **sections: object,
    ) -> TrainConfig:
        settings: dict[str, object] = {
            "data": DataConfig(train=(str(manifest),), dev=(str(manifest),), sorted_passes=0),
            "features": FeatureConfig(),
            "model": model or ModelConfig(hidden_size=64, n_layers=2, conv_channels=8),
            "augment": NO_AUGMENT,
            "optimizer": OptimizerConfig(learning_rate=4e-3, warmup_steps=20, ema=0.0),
            "loss": LossConfig(auxiliary_weight=0.0),
            "run": RunConfig(
                **{  # type: ignore[arg-type]
                    "output": str(tmp_path / "run"),
                    "steps": 6,
                    "evaluate_steps": 1000,
                    "device": "cpu",
                    "precision": "fp32",
                }
                | (run or {})
            ),
        }
        return TrainConfig(**(settings | sections))  # type: ignore[arg-type]

    return make
