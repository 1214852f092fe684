"""Other voices through other microphones, made of the same log-mel frames.

A small corpus has few speakers, each with a microphone of their own, and a network that hears
them often learns both by heart.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from asr.features import FeatureExtractor

from .config import AugmentConfig
from .devices import send

CURVES = 4
"""Cosines over the mel axis that a colouring is made of."""
NEPERS = math.log(10) / 10
"""Log-power of a decibel."""


def vary(
    features: Tensor, extractor: FeatureExtractor, config: AugmentConfig,
    generator: torch.Generator,
) -> Tensor:
    """Change each row of normalised (batch, frames, n_mels) in its own way.

    The frequency axis is stretched as a longer or shorter vocal tract does it (Jaitly and Hinton
    2013), and a smooth curve of decibels is added, as another microphone would.
    """
    if not (config.warp or config.equalizer):
        return features
    rows, device = len(features), features.device
    factors = 1.0 + config.warp * (2 * torch.rand(rows, generator=generator) - 1)
    sizes = torch.randn(rows, CURVES, generator=generator) * config.equalizer / math.sqrt(2)
    raw = features * extractor.std + extractor.mean
    if config.warp:
        raw = raw @ send(_stretched(factors, extractor), device)
    raw = raw + send(_curves(sizes, features.shape[2]), device)[:, None]
    return (raw - extractor.mean) / extractor.std


def _stretched(factors: Tensor, extractor: FeatureExtractor) -> Tensor:
    """(rows, n_mels, n_mels) that bring what is heard at `factor` times a frequency there."""
    bins, top = extractor.config.n_mels, extractor.config.sample_rate / 2
    steps = (torch.arange(bins) + 1.0) / (bins + 1)  # of the mel scale, as torchaudio has it
    hertz = 700 * (10 ** (steps * math.log10(1 + top / 700)) - 1)
    mels = torch.log10(1 + factors[:, None] * hertz / 700) / math.log10(1 + top / 700)
    places = (mels * (bins + 1) - 1).clamp(0, bins - 1)  # (rows, n_mels)
    distance = (places[:, None, :] - torch.arange(bins)[:, None]).abs()
    return (1 - distance).clamp(min=0.0)  # linear between neighbours


def _curves(sizes: Tensor, bins: int) -> Tensor:
    """(rows, bins) of log-power from the heights of the cosines, (rows, CURVES) in dB."""
    places = (torch.arange(bins) + 0.5) / bins
    waves = torch.cos(math.pi * torch.arange(1, CURVES + 1)[:, None] * places)
    return NEPERS * sizes @ waves
