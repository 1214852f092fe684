"""Random changes of audio and features, on whole batches and on the model's device.

Every function draws from the generator it is given, so that a step is repeatable.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from asr.mel_backend import resample

from .config import AugmentConfig


def uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    """`count` draws from [low, high), on the CPU."""
    return low + torch.rand(count, generator=generator) * (high - low)


def change_speed(samples: Tensor, speed: float) -> Tensor:
    """Play (batch, samples) `speed` times as fast, pitch included (Ko et al. 2015)."""
    if speed == 1.0:
        return samples
    ratio = Fraction(speed).limit_denominator(100)
    changed: Tensor = resample(samples, ratio.numerator, ratio.denominator)
    return changed


def speed_length(samples: int, speed: float) -> int:
    """Samples that `change_speed` makes of so many."""
    ratio = Fraction(speed).limit_denominator(100)
    return -(-samples * ratio.denominator // ratio.numerator)


def reverberate(samples: Tensor, responses: Tensor) -> Tensor:
    """Convolve each row of (batch, samples) with its row of (batch, taps)."""
    n = samples.shape[-1] + responses.shape[-1] - 1
    size = 1 << (n - 1).bit_length()
    spectrum = torch.fft.rfft(samples, size) * torch.fft.rfft(responses, size)
    convolved: Tensor = torch.fft.irfft(spectrum, size)
    return convolved[..., : samples.shape[-1]]


def add_noise(samples: Tensor, noise: Tensor, snr: Tensor, lengths: Tensor) -> Tensor:
    """Add (batch, samples) of noise at `snr` (batch,) decibels below the speech.

    The power of the speech is that of the first `lengths` samples of each row.
    """
    speech_power = samples.square().sum(-1) / lengths.clamp(min=1)
    noise_power = noise.square().mean(-1).clamp(min=1e-12)
    factor = (speech_power / noise_power * 10 ** (-snr / 10)).sqrt()
    return samples + noise * factor[:, None]


def mask_features(
    features: Tensor, lengths: list[int], config: AugmentConfig, generator: torch.Generator,
    frame_seconds: float,
) -> Tensor:
    """SpecAugment (Park et al. 2019) on normalised (batch, frames, n_mels): masks are means.

    `lengths` are the frames of each row. The input is changed in place and returned.
    """
    batch, _, n_mels = features.shape
    widest = config.time_mask_seconds / frame_seconds
    draws = torch.rand(4, batch, max(config.time_masks, config.frequency_masks, 1),
                       generator=generator).tolist()
    for row in range(batch):
        for k in range(config.time_masks):
            limit = min(widest, config.time_mask_share * lengths[row])
            width = round(draws[0][row][k] * limit)
            start = round(draws[1][row][k] * (lengths[row] - width))
            features[row, start : start + width] = 0.0
        for k in range(config.frequency_masks):
            width = round(draws[2][row][k] * config.frequency_mask_bins)
            start = round(draws[3][row][k] * (n_mels - width))
            features[row, :, start : start + width] = 0.0
    return features


class Augmenter:
    """Speed, rooms, noise and gain, with the material they need on one device."""

    def __init__(
        self, config: AugmentConfig, noise: Tensor, rooms: Tensor, sample_rate: int
    ) -> None:
        self.config, self.noise, self.rooms = config, noise, rooms
        self.sample_rate = sample_rate

    def draw_speed(self, generator: torch.Generator) -> float:
        """The speed of a batch."""
        speeds = self.config.speeds
        return speeds[int(torch.randint(len(speeds), (), generator=generator))]

    def __call__(self, samples: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """Change (batch, samples), whose rows hold `lengths` samples of speech."""
        c, batch = self.config, len(samples)
        if c.rooms and len(self.rooms):
            chosen = torch.rand(batch, generator=generator) < c.rooms
            rooms = torch.randint(len(self.rooms), (int(chosen.sum()),), generator=generator)
            if len(rooms):
                where = chosen.to(samples.device)
                samples[where] = reverberate(samples[where], self.rooms[rooms])
        if c.noise and len(self.noise):
            snr = uniform(generator, batch, c.snr_low, c.snr_high)
            snr[torch.rand(batch, generator=generator) >= c.noise] = 200.0  # inaudible
            last = max(1, len(self.noise) - samples.shape[1])
            starts = torch.randint(last, (batch,), generator=generator).tolist()
            count = samples.shape[1]
            noise = torch.stack([self._segment(start, count) for start in starts])
            samples = add_noise(samples, noise, snr.to(samples.device), lengths)
        gain = 10 ** (uniform(generator, batch, c.gain_low, c.gain_high) / 20)
        return samples * gain.to(samples.device)[:, None]

    def _segment(self, start: int, count: int) -> Tensor:
        piece = self.noise[start : start + count].float() / 32768
        if len(piece) < count:
            piece = piece.repeat(-(-count // len(piece)))[:count]
        return piece
