"""The streaming resampler: equal to the whole file, whatever the packets."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from asr.errors import AudioFormatError
from asr.resample import MAX_RATE, MIN_RATE, Resampler
from tests.equivalence import babble, packets

RATES = (8_000, 11_025, 22_050, 44_100, 48_000, 192_000)


def resampled(
    samples: NDArray[np.float32], rate: int, sizes: list[int]
) -> NDArray[np.float32]:
    resampler = Resampler(rate, 16_000)
    parts = [resampler.push(packet) for packet in packets(samples, sizes)]
    return np.concatenate([*parts, resampler.flush()])


@pytest.mark.parametrize("rate", RATES)
@settings(max_examples=10, derandomize=True, deadline=None, database=None)
@given(sizes=st.lists(st.integers(0, 5_000), min_size=1, max_size=5).filter(any))
def test_any_packets_give_soxrs_whole(rate: int, sizes: list[int]) -> None:
    samples = babble(rate // 2, rate)
    expected = soxr.resample(samples, rate, 16_000, quality="HQ")
    np.testing.assert_allclose(resampled(samples, rate, sizes), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_pitch_length_and_loudness(rate: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    found = resampled(tone.astype(np.float32), rate, [999])
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert len(found) == 16_000
    assert np.abs(found - expected)[500:-500].max() < 2e-3


def test_flush_returns_what_the_filter_holds_back() -> None:
    samples = babble(800, 8_000)
    resampler = Resampler(8_000, 16_000)
    assert len(resampler.push(samples)) < 800
    assert len(resampler.flush()) > 800


def test_equal_rates_pass_samples_through() -> None:
    samples = babble(800)
    resampler = Resampler(16_000, 16_000)
    assert resampler.push(samples).tolist() == samples.tolist()
    assert len(resampler.flush()) == 0


@pytest.mark.parametrize("rate", RATES)
def test_no_audio_gives_no_audio(rate: int) -> None:
    assert len(Resampler(rate, 16_000).flush()) == 0
    resampler = Resampler(rate, 16_000)
    assert len(resampler.push(np.zeros(0, np.float32))) == 0
    assert len(resampler.flush()) == 0


@pytest.mark.parametrize("rate", [MIN_RATE - 1, MAX_RATE + 1, 0, -44_100])
def test_rates_out_of_range_are_named(rate: int) -> None:
    with pytest.raises(AudioFormatError, match=f"{rate} Hz"):
        Resampler(rate, 16_000)
