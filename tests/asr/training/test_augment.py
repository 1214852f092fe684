"""Promises of batches and augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.training.augment import (
    add_noise,
    change_speed,
    mask_features,
    reverberate,
    speed_length,
)
from asr.training.batches import bucketed_batches, share, stream_batches
from asr.training.config import AugmentConfig
from asr.training.objective import needed_frames
from asr.training.rooms import room_responses


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("samples", [1, 1600, 16_001])
def test_speed_changes_the_length_as_announced(speed: float, samples: int) -> None:
    changed = change_speed(torch.randn(2, samples), speed)
    assert changed.shape == (2, speed_length(samples, speed))


def test_faster_speech_is_higher() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)[None]
    fast = change_speed(tone, 1.1)[0]
    peak = int(torch.fft.rfft(fast).abs().argmax()) * 16_000 / len(fast)
    assert peak == pytest.approx(1100, abs=5)


def test_noise_is_added_at_the_asked_ratio() -> None:
    generator = torch.Generator().manual_seed(0)
    speech = torch.zeros(1, 32_000)
    speech[:, :16_000] = torch.randn(1, 16_000, generator=generator)
    noise = torch.randn(1, 32_000, generator=generator) * 0.01
    noisy = add_noise(speech, noise, torch.tensor([10.0]), torch.tensor([16_000]))
    ratio = speech[:, :16_000].square().mean() / (noisy - speech).square().mean()
    assert 10 * torch.log10(ratio) == pytest.approx(10, abs=0.1)


def test_reverberation_is_a_convolution_that_keeps_the_length() -> None:
    samples = torch.randn(2, 1000)
    responses = torch.zeros(2, 50)
    responses[:, 0], responses[:, 10] = 1.0, 0.5
    got = reverberate(samples, responses)
    want = samples.clone()
    want[:, 10:] += 0.5 * samples[:, :-10]
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


def test_rooms_have_the_asked_reverberation(tmp_path: Path) -> None:
    dry, wet = (
        room_responses(3, rt60=(t, t), sample_rate=16_000, seed=1, cache=tmp_path)
        for t in (0.2, 0.7)
    )
    for responses, low, high in ((dry, 0.08, 0.35), (wet, 0.35, 1.2)):
        for response in responses.numpy():
            decay = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] + 1e-12)
            at_5, at_25 = (int(np.argmax(decay < level)) for level in (-5, -25))
            assert low < 3 * (at_25 - at_5) / 16_000 < high
    again = room_responses(3, rt60=(0.2, 0.2), sample_rate=16_000, seed=1, cache=tmp_path)
    assert torch.equal(again, dry)


def test_masks_stay_inside_the_utterance_and_their_share() -> None:
    config = AugmentConfig(time_masks=1, time_mask_share=0.1, frequency_masks=0)
    for seed in range(20):
        features = torch.ones(1, 300, 80)
        generator = torch.Generator().manual_seed(seed)
        mask_features(features, [200], config, generator, 0.01)
        hidden = (features[0, :, 0] == 0).nonzero()[:, 0]
        assert len(hidden) <= 20
        assert not len(hidden) or int(hidden.max()) < 200


def test_masks_of_a_batch_are_those_that_a_loop_over_its_rows_makes() -> None:
    config = AugmentConfig(time_masks=2, time_mask_share=0.3, frequency_masks=3)
    lengths = [200, 17, 0, 300]
    features = mask_features(
        torch.ones(4, 300, 80), lengths, config, torch.Generator().manual_seed(5), 0.01
    )
    draws = torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(5)).tolist()
    expected = torch.ones(4, 300, 80)
    for row, length in enumerate(lengths):
        for k in range(2):
            width = round(draws[0][row][k] * min(40, 0.3 * length))
            start = round(draws[1][row][k] * (length - width))
            expected[row, start : start + width] = 0
        for k in range(3):
            width = round(draws[2][row][k] * config.frequency_mask_bins)
            start = round(draws[3][row][k] * (80 - width))
            expected[row, :, start : start + width] = 0
    assert torch.equal(features, expected)


@given(
    lengths=st.lists(st.integers(1, 400), min_size=1, max_size=80),
    budget=st.integers(1, 2000),
    rows=st.integers(1, 20),
    number=st.integers(0, 5),
)
def test_a_pass_takes_every_recording_once(
    lengths: list[int], budget: int, rows: int, number: int
) -> None:
    sizes = np.array(lengths)
    make = lambda: bucketed_batches(sizes, budget=budget, rows=rows, seed=3, number=number)  # noqa: E731
    batches = make()
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= rows
        assert len(batch) == 1 or max(sizes[batch]) * len(batch) <= budget
    assert make() == batches


def test_streams_continue_row_by_row() -> None:
    speakers = ["a"] * 6 + ["b"] * 6
    batches = stream_batches(speakers, streams=2, seed=0, number=0)
    assert sorted(i for batch in batches for i in batch) == list(range(12))
    for row in range(2):
        assert len({speakers[batch[row]] for batch in batches}) == 1


def test_processes_share_batches_evenly() -> None:
    batches = [[i] for i in range(7)]
    assert share(batches, 0, 2) == [[0], [2], [4]]
    assert share(batches, 1, 2) == [[1], [3], [5]]


def test_repeated_letters_need_a_blank_between() -> None:
    assert needed_frames([5, 5, 6]) == 4
