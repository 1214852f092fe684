"""Random changes of audio and features, on whole batches and on the model's device.

Every function draws from the generator it is given, so that a step is repeatable.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from asr.mel_backend import Resample

from .config import AugmentConfig
from .devices import send


def uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    """`count` draws from [low, high), on the CPU."""
    return low + torch.rand(count, generator=generator) * (high - low)


def change_speed(samples: Tensor, speed: float) -> Tensor:
    """Play (batch, samples) `speed` times as fast, pitch included (Ko et al. 2015)."""
    if speed == 1.0:
        return samples
    changed: Tensor = _resampler(speed, samples.device)(samples)
    return changed


@lru_cache(maxsize=32)
def _resampler(speed: float, device: torch.device) -> Resample:
    """Kept, because making its filter takes a copy to the device that everything waits for."""
    ratio = Fraction(speed).limit_denominator(100)
    return Resample(ratio.numerator, ratio.denominator).to(device)


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
    features: Tensor, lengths: Sequence[int], config: AugmentConfig, generator: torch.Generator,
    frame_seconds: float,
) -> Tensor:
    """SpecAugment (Park et al. 2019) on normalised (batch, frames, n_mels): masks are means.

    `lengths` are the frames of each row. The input is changed in place and returned.
    """
    batch, frames, n_mels = features.shape
    draws = torch.rand(4, batch, max(config.time_masks, config.frequency_masks, 1),
                       generator=generator).double()
    length = torch.tensor(lengths, dtype=torch.float64)[:, None]
    limit = (config.time_mask_share * length).clamp(max=config.time_mask_seconds / frame_seconds)
    hidden = [
        _spans(draws[:2, :, : config.time_masks], limit, length, frames, features.device),
        _spans(
            draws[2:, :, : config.frequency_masks],
            torch.full_like(length, config.frequency_mask_bins), torch.full_like(length, n_mels),
            n_mels, features.device,
        ),
    ]
    features.masked_fill_(hidden[0][:, :, None], 0.0)
    return features.masked_fill_(hidden[1][:, None, :], 0.0)


def _spans(
    draws: Tensor, widest: Tensor, length: Tensor, size: int, device: torch.device
) -> Tensor:
    """Which of `size` places of each row lie in a span; `draws` are (2, batch, spans)."""
    width = (draws[0] * widest).round()
    start = (draws[1] * (length - width)).round()
    bounds = send(torch.stack((start, start + width)).long()[..., None], device)
    place = torch.arange(size, device=device)
    return ((place >= bounds[0]) & (place < bounds[1])).any(dim=1)  # (batch, size)


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
        c, batch, device = self.config, len(samples), samples.device
        if c.rooms and len(self.rooms):
            chosen = (torch.rand(batch, generator=generator) < c.rooms).nonzero()[:, 0]
            rooms = torch.randint(len(self.rooms), (len(chosen),), generator=generator)
            if len(rooms):
                where = send(chosen, device)
                samples[where] = reverberate(samples[where], self.rooms[send(rooms, device)])
        if c.noise and len(self.noise):
            snr = uniform(generator, batch, c.snr_low, c.snr_high)
            snr[torch.rand(batch, generator=generator) >= c.noise] = 200.0  # inaudible
            last = max(1, len(self.noise) - samples.shape[1])
            starts = torch.randint(last, (batch,), generator=generator)
            noise = self._segments(send(starts, device), samples.shape[1])
            samples = add_noise(samples, noise, send(snr, device), lengths)
        gain = 10 ** (uniform(generator, batch, c.gain_low, c.gain_high) / 20)
        return samples * send(gain, device)[:, None]

    def silence(self, samples: Tensor, generator: torch.Generator) -> list[int]:
        """Put noise alone into some rows of (batch, samples); says which."""
        c = self.config
        if not (c.nonspeech and len(self.noise)):
            return []
        chosen = (torch.rand(len(samples), generator=generator) < c.nonspeech).nonzero()[:, 0]
        level = uniform(generator, len(chosen), c.nonspeech_low, c.nonspeech_high)
        last = max(1, len(self.noise) - samples.shape[1])
        starts = torch.randint(last, (len(chosen),), generator=generator)
        if len(chosen):
            device = samples.device
            noise = self._segments(send(starts, device), samples.shape[1])
            size = noise.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)
            scale = send(10 ** (level / 20), device)[:, None] / size
            samples[send(chosen, device)] = (noise * scale).clamp(-1.0, 1.0)
        found: list[int] = chosen.tolist()
        return found

    def _segments(self, starts: Tensor, count: int) -> Tensor:
        """Noise (batch, count) from each start on; what is too short begins again."""
        index = starts[:, None] + torch.arange(count, device=starts.device)
        return self.noise[index.remainder_(len(self.noise))].float() / 32768
