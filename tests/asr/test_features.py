"""Log-mel features: the same whole and streamed, and the same as torchaudio's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.errors import ConfigError
from asr.features import FeatureConfig, FeatureExtractor
from asr.mel_backend import MelSpectrogram
from tests.equivalence import babble

CONFIG = FeatureConfig()
OTHER = FeatureConfig(
    sample_rate=8_000, win_length=200, hop_length=100, n_fft=200, n_mels=20, floor=1e-4
)


def oracle(samples: Tensor, config: FeatureConfig) -> Tensor:
    mel = MelSpectrogram(
        sample_rate=config.sample_rate, n_fft=config.n_fft, win_length=config.win_length,
        hop_length=config.hop_length, n_mels=config.n_mels, center=False, power=2.0,
    )
    log_mel: Tensor = torch.log(mel(samples) + config.floor).T
    return log_mel


def streamed(extractor: FeatureExtractor, samples: Tensor, sizes: list[int]) -> Tensor:
    stream, found, at, turn = extractor.new_stream(), [], 0, 0
    while at < len(samples):
        size = sizes[turn % len(sizes)]
        found.append(stream.push(samples[at : at + size]))
        at, turn = at + size, turn + 1
    return torch.cat(found)


@pytest.mark.parametrize("config", [CONFIG, OTHER])
@settings(max_examples=15, derandomize=True, deadline=None, database=None)
@given(sizes=st.lists(st.integers(0, 3_000), min_size=1, max_size=5).filter(any))
def test_any_packets_give_torchaudios_frames_of_the_whole(
    config: FeatureConfig, sizes: list[int]
) -> None:
    samples, extractor = torch.from_numpy(babble(12_000)), FeatureExtractor(config)
    expected = oracle(samples, config)
    torch.testing.assert_close(extractor(samples), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(streamed(extractor, samples, sizes), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("config", [CONFIG, OTHER])
def test_the_count_of_frames_is_what_the_length_allows(config: FeatureConfig) -> None:
    extractor, n_fft, hop = FeatureExtractor(config), config.n_fft, config.hop_length
    for count, frames in [
        (0, 0), (1, 0), (hop - 1, 0), (n_fft - 1, 0), (n_fft, 1), (n_fft + 1, 1),
        (n_fft + hop - 1, 1), (n_fft + hop, 2),
    ]:
        samples = torch.zeros(count)
        assert extractor(samples).shape == (frames, config.n_mels)
        assert extractor.new_stream().push(samples).shape == (frames, config.n_mels)


def test_packets_shorter_than_a_hop_yield_no_frames_until_one_is_complete() -> None:
    stream = FeatureExtractor(CONFIG).new_stream()
    counts = [len(stream.push(torch.zeros(100))) for _ in range(8)]
    assert counts == [0, 0, 0, 0, 0, 1, 1, 0]


def test_what_follows_does_not_change_a_frame() -> None:
    extractor, samples = FeatureExtractor(CONFIG), torch.from_numpy(babble(8_000))
    loud = torch.cat((samples[:4_000], 30 * samples[4_000:]))
    frames = len(extractor(samples[:4_000]))
    torch.testing.assert_close(extractor(loud)[:frames], extractor(samples)[:frames])
    assert (extractor(loud)[-5:] - extractor(samples)[-5:]).abs().min() > 1


def test_digital_silence_is_the_logarithm_of_the_floor() -> None:
    silence = FeatureExtractor(CONFIG)(torch.zeros(2_000))
    torch.testing.assert_close(silence, torch.full_like(silence, 1e-6).log())


def test_global_statistics_normalise() -> None:
    samples = torch.from_numpy(babble(8_000))
    plain, extractor = FeatureExtractor(CONFIG), FeatureExtractor(CONFIG)
    mean, std = torch.linspace(-9, 2, 80), torch.linspace(1, 3, 80)
    extractor.mean.copy_(mean)
    extractor.std.copy_(std)
    torch.testing.assert_close(extractor(samples), (plain(samples) - mean) / std)
    torch.testing.assert_close(extractor.log_mel(samples), plain(samples))


def test_batches_of_recordings_give_the_frames_of_each() -> None:
    extractor = FeatureExtractor(CONFIG)
    audio = torch.stack([torch.from_numpy(babble(3_000, seed=seed)) for seed in range(3)])
    for row, samples in zip(extractor(audio), audio, strict=True):
        torch.testing.assert_close(row, extractor(samples), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hop_length": 0},
        {"hop_length": 401},
        {"win_length": 513},
        {"n_mels": 0},
        {"sample_rate": 0},
        {"floor": 0.0},
        {"floor": float("nan")},
        {"tail_padding": -0.1},
        {"tail_padding": float("inf")},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="features need"):
        replace(CONFIG, **wrong)


def test_durations_follow_from_the_settings() -> None:
    assert CONFIG.frame_seconds == 0.01
    assert OTHER.frame_seconds == 0.0125
    assert OTHER.tail_samples == 1_920
