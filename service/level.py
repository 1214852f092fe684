"""Spare the voice activity detector what is too quiet for speech: its network costs most of a gate.

A piece may hold speech where its level is above what quiet speech reaches, or stands out from
the noise floor; from there on the detector hears everything for a while.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

Detector = Callable[[Samples], float]
"""The probability of speech in the next 512 samples at 16 kHz; keeps the state of one stream."""

SILENCE_DBFS = -100.0
"""Nothing counts as quieter: about the last bit of 16."""


@dataclass(frozen=True)
class LevelRules:
    """What is too quiet to be speech; levels are those of one piece."""

    quiet_speech: float = -65.0
    """dBFS that always wake the detector."""
    above_floor: float = 6.0
    """dB above the noise floor that wake it however quiet they are."""
    floor_rise: float = 0.02
    """dB a piece that the floor rises towards a louder level; down it follows at once."""
    hold: int = 32
    """Pieces that the detector hears after the last loud one."""
    lead: int = 32
    """Pieces before a loud one that it hears first: without a past it notices speech later."""


class AboveSilence:
    """A detector that asks another one only where there may be speech. One stream's."""

    def __init__(
        self, detect: Detector, reset: Callable[[], None], rules: LevelRules | None = None
    ) -> None:
        """`reset` lets the other one forget what it has heard."""
        self._detect, self._reset, self._rules = detect, reset, rules or LevelRules()
        self._floor = 0.0
        self._holding = 0
        self._lead: deque[Samples] = deque(maxlen=self._rules.lead)

    def __call__(self, samples: Samples) -> float:
        """The probability of speech in the next piece; 0 where it is too quiet."""
        rules, level = self._rules, level_of(samples)
        loud = level >= rules.quiet_speech or level >= self._floor + rules.above_floor
        self._floor = min(level, self._floor + rules.floor_rise)
        if loud:
            if not self._holding:
                self._reset()
                for piece in self._lead:
                    self._detect(piece)
                self._lead.clear()
            self._holding = rules.hold
        elif not self._holding:
            self._lead.append(samples)
            return 0.0
        else:
            self._holding -= 1
        return self._detect(samples)


def level_of(samples: Samples) -> float:
    """dBFS of a piece without its offset, which cheap sound cards add."""
    centred = samples - samples.mean()
    power = float(np.dot(centred, centred)) / len(samples)
    return max(SILENCE_DBFS, 10 * math.log10(max(power, 1e-12)))
