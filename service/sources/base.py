"""What a source of live audio offers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

BLOCK_SECONDS = 0.1
"""The longest block of a live source: what the event loop converts in one go."""


class AudioSource(Protocol):
    """Audio without a break; its iteration ends where the audio does."""

    @property
    def name(self) -> str:
        """What events and messages call it."""
        ...

    @property
    def sample_rate(self) -> int:
        """Of its blocks, in Hz."""
        ...

    def __aiter__(self) -> AsyncIterator[Samples]:
        """Mono blocks shaped (count,) of at most `BLOCK_SECONDS`."""
        ...


@dataclass(frozen=True)
class Relayed:
    """What stands for a source and passes its blocks on in its own way."""

    source: AudioSource

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    @property
    def sample_rate(self) -> int:
        """The source's."""
        return self.source.sample_rate


class Inlet(Protocol):
    """A place that audio sources come from, one after another."""

    @property
    def name(self) -> str:
        """What events and messages call it."""
        ...

    @property
    def returns(self) -> bool:
        """Whether another source follows when one has ended, as a microphone's does."""
        ...

    def open(self) -> AbstractAsyncContextManager[AudioSource]:
        """The next source, as soon as there is one."""
        ...


@runtime_checkable
class Lossy(Protocol):
    """A source that drops audio which nobody takes in time."""

    @property
    def dropped_seconds(self) -> float:
        """How much that has been since it was opened."""
        ...


@runtime_checkable
class Waiting(Protocol):
    """An inlet that waits for its source and can say why."""

    on_waiting: Callable[[str], None]
    """Called with the reason, in words, whenever the waiting begins."""
