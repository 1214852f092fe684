"""The last seconds of a stream's audio, from which utterances are cut once their text is known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .events import Final

MARGIN_SECONDS = 0.3
"""Kept around an utterance: the times of its words are off by up to 0.2 s."""
DELAY_SECONDS = 3.0
"""How far the network may be behind the audio."""


@dataclass(frozen=True)
class Utterance:
    """What was said, as text and as audio."""

    final: Final
    samples: NDArray[np.int16]
    """Mono; 16 bits, since tens of seconds of every stream are held."""
    sample_rate: int


class AudioHistory:
    """Holds the audio of one stream, as much as the longest utterance needs."""

    def __init__(self, longest: float, keep: Callable[[Utterance], None]) -> None:
        """`longest` utterance in seconds, as endpointing limits it, with the gate's pre-roll.

        `keep` is given each utterance whose audio is still there; it must not block.
        """
        self._seconds, self._give = longest + DELAY_SECONDS, keep
        self._blocks: deque[NDArray[np.int16]] = deque()
        self.start(1, 0.0)

    def start(self, sample_rate: int, at: float) -> None:
        """Begin with new audio, `at` seconds into the stream."""
        self._sample_rate, self._origin = sample_rate, at
        self._heard = 0
        self.clear()

    def lengthen(self, seconds: float) -> None:
        """Hold so much more from now on, or less if negative."""
        self._seconds += seconds

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take float samples shaped (count,) or (count, channels)."""
        mono = samples if samples.ndim == 1 else samples.mean(axis=1)
        self._blocks.append(np.rint(mono.clip(-1.0, 1.0) * 32_767).astype(np.int16))
        self._heard += len(mono)
        self._held += len(mono)
        surplus = self._held - round(self._seconds * self._sample_rate)
        while surplus > 0:
            oldest = self._blocks.popleft()
            if len(oldest) > surplus:
                self._blocks.appendleft(oldest[surplus:].copy())  # or it would hold all of it
            dropped = min(surplus, len(oldest))
            self._held -= dropped
            surplus -= dropped

    def keep(self, final: Final) -> None:
        """Give away the audio of a final, unless some of it has been dropped or cleared."""
        samples = self._cut(final.start, final.end)
        if samples is not None:
            self._give(Utterance(final, samples, self._sample_rate))

    def clear(self) -> None:
        """Drop all audio, as when the microphone is muted; time goes on."""
        self._blocks.clear()
        self._held = 0

    def _cut(self, start: float, end: float) -> NDArray[np.int16] | None:
        oldest = self._heard - self._held
        if (oldest and self._position(start) < oldest) or not self._blocks:
            return None
        first = max(self._position(start - MARGIN_SECONDS), oldest) - oldest
        last = max(self._position(end + MARGIN_SECONDS), oldest) - oldest
        return np.concatenate(self._blocks)[first:last]

    def _position(self, time: float) -> int:
        return round((time - self._origin) * self._sample_rate)
