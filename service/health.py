"""What the daemon knows about its own health: counters that its streams feed.

For one event loop; `document` is what `asrd status` and the metrics page are made from.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

SourceState = Literal["waiting", "listening", "muted", "ended", "failed"]

KEPT_LATENCIES = 512
"""Finals that percentiles are taken over."""


@dataclass
class StreamHealth:
    """One stream's counters."""

    state: SourceState = "waiting"
    detail: str = ""
    """In words, what a waiting or failed source waits for or died of."""
    heard_seconds: float = 0.0
    """Audio taken from the source, silence included."""
    decoded_seconds: float = 0.0
    """Audio that passed the gate and was recognised."""
    compute_seconds: float = 0.0
    """Wall-clock seconds that recognising it took."""
    utterances: int = 0
    dropped_seconds: float = 0.0
    """Audio that was lost because nobody took it in time."""
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_LATENCIES))
    """Seconds from an endpoint's decision to its final being handed to the publishers."""

    def document(self) -> dict[str, Any]:
        """As JSON; percentiles and the real-time factor are None where nothing was heard."""
        ordered = sorted(self.latencies)
        rtf = self.compute_seconds / self.decoded_seconds if self.decoded_seconds else None
        return {
            "state": self.state,
            "detail": self.detail,
            "heard_seconds": round(self.heard_seconds, 3),
            "decoded_seconds": round(self.decoded_seconds, 3),
            "rtf": None if rtf is None else round(rtf, 4),
            "utterances": self.utterances,
            "dropped_seconds": round(self.dropped_seconds, 3),
            "latency": {name: _percentile(ordered, share) for name, share in _SHARES.items()},
        }


class Health:
    """The whole daemon's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self.streams: dict[str, StreamHealth] = {}

    def stream(self, name: str) -> StreamHealth:
        """The counters of a stream, made at the first call."""
        return self.streams.setdefault(name, StreamHealth())

    def document(self) -> dict[str, Any]:
        """As JSON, without what others know better: subscribers, model, lost finals."""
        return {
            "uptime_seconds": round(self._clock() - self._began, 1),
            "memory_mb": round(_resident_bytes() / 1e6, 1),
            "streams": {name: stream.document() for name, stream in self.streams.items()},
        }


_SHARES = {"p50": 0.5, "p95": 0.95, "max": 1.0}


def _percentile(ordered: list[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)


def _resident_bytes() -> int:
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 a pseudo-file
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0
