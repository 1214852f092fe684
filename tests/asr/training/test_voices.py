"""Other voices and microphones: what becomes of log-mel frames."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from asr.features import FeatureConfig, FeatureExtractor
from asr.training.voices import NEPERS, vary

from .conftest import NO_AUGMENT


def extractor() -> FeatureExtractor:
    made = FeatureExtractor(FeatureConfig())
    made.mean.uniform_(-9.0, -7.0, generator=torch.Generator().manual_seed(2))
    made.std.uniform_(1.0, 2.0, generator=torch.Generator().manual_seed(3))
    return made


def tone(hertz: float) -> torch.Tensor:
    """A second of it."""
    return 0.1 * torch.sin(2 * math.pi * hertz * torch.arange(16_000) / 16_000)[None]


def test_nothing_asked_changes_nothing() -> None:
    features = torch.randn(2, 5, 80)
    assert vary(features, extractor(), NO_AUGMENT, torch.Generator()) is features


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 3000.0])
def test_a_stretched_axis_moves_a_tone_as_it_says(hertz: float) -> None:
    made = extractor()
    features = made(tone(hertz)).repeat(64, 1, 1)
    changed = vary(features, made, replace(NO_AUGMENT, warp=0.15), torch.Generator().manual_seed(1))
    def loudest(x: torch.Tensor) -> torch.Tensor:
        return (x * made.std + made.mean).mean(1).argmax(1)

    moved = loudest(changed)
    bounds = [int(loudest(made(tone(hertz / (1 + s * 0.15))))) for s in (1, -1)]
    assert bounds[0] - 1 <= int(moved.min()) <= bounds[0] + 2
    assert bounds[1] - 2 <= int(moved.max()) <= bounds[1] + 1


def test_a_colouring_is_smooth_alike_in_all_frames_and_of_the_size_asked() -> None:
    made = extractor()
    features = torch.randn(400, 3, 80, generator=torch.Generator().manual_seed(4))
    changed = vary(features, made, replace(NO_AUGMENT, equalizer=4.0), torch.Generator())
    curve = (changed - features) * made.std / NEPERS
    assert torch.allclose(curve[:, :1].expand_as(curve), curve, atol=1e-3)
    assert float(curve.square().mean().sqrt()) == pytest.approx(4.0, rel=0.1)
    assert float(curve.diff(dim=2).abs().max()) < 3.0
