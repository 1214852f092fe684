"""Log-mel filter-bank features, computed identically for whole recordings and streams."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .errors import ConfigError
from .framing import Framer
from .mel_backend import MelSpectrogram


@dataclass(frozen=True)
class FeatureConfig:
    """How samples become log-mel frames; part of a model bundle, never of a user's config."""

    sample_rate: int = 16_000
    win_length: int = 400
    """Samples under the Hann window, centred in `n_fft`."""
    hop_length: int = 160
    n_fft: int = 512
    """Samples that one frame spans."""
    n_mels: int = 80
    floor: float = 1e-6
    """Added to the mel power before the logarithm; full scale is 1."""
    tail_padding: float = 0.24
    """Seconds of silence appended to every recording, so that its last letters come out."""

    def __post_init__(self) -> None:
        if not 0 < self.hop_length <= self.win_length <= self.n_fft:
            raise ConfigError(
                "features need 0 < hop_length <= win_length <= n_fft, got "
                f"{self.hop_length}, {self.win_length}, {self.n_fft}"
            )
        if self.sample_rate < 1 or self.n_mels < 1:
            raise ConfigError(
                "features need sample_rate and n_mels of at least 1, got "
                f"{self.sample_rate}, {self.n_mels}"
            )
        # written so that NaN fails, too
        if not (0 < self.floor < math.inf and 0 <= self.tail_padding < math.inf):
            raise ConfigError(
                "features need floor > 0 and tail_padding >= 0, got "
                f"{self.floor}, {self.tail_padding}"
            )

    @property
    def frame_seconds(self) -> float:
        """Duration of one feature frame."""
        return self.hop_length / self.sample_rate

    @property
    def tail_samples(self) -> int:
        """`tail_padding` in samples."""
        return round(self.tail_padding * self.sample_rate)


class FeatureExtractor(nn.Module):
    """Shared and stateless: samples to normalised log-mel frames.

    `mean` and `std` are global statistics, one value a mel bin, found once on the training
    data and shipped in the bundle. Normalising per clip could not be streamed identically.
    A frame of zeros is therefore an average frame.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        self.mel = MelSpectrogram(
            sample_rate=config.sample_rate,
            n_fft=config.n_fft,
            win_length=config.win_length,
            hop_length=config.hop_length,
            n_mels=config.n_mels,
            center=False,
        )
        self.register_buffer("mean", torch.zeros(config.n_mels))
        self.register_buffer("std", torch.ones(config.n_mels))

    def forward(self, samples: Tensor) -> Tensor:
        """Whole recordings, (..., samples) to (..., frames, n_mels).

        n samples give max(0, 1 + (n - n_fft) // hop_length) frames.
        """
        return (self.log_mel(samples) - self.mean) / self.std

    def log_mel(self, samples: Tensor) -> Tensor:
        """The same before normalisation."""
        if samples.shape[-1] < self.config.n_fft:  # torch.stft refuses less than one frame
            return samples.new_zeros((*samples.shape[:-1], 0, self.config.n_mels))
        power: Tensor = self.mel(samples)  # (..., n_mels, frames)
        return (power + self.config.floor).log().transpose(-1, -2)

    def new_stream(self) -> FeatureStream:
        """State for one stream of samples."""
        return FeatureStream(self)


class FeatureStream:
    """Per-stream state: the samples not yet covered by a complete frame."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        self._extractor = extractor
        self._framer = Framer(extractor.config.n_fft, extractor.config.hop_length)

    def push(self, samples: Tensor) -> Tensor:
        """Take samples shaped (count,), return the completed frames (frames, n_mels)."""
        self._framer.push(samples)
        frames: Tensor = self._extractor(self._framer.pop_span())
        return frames
