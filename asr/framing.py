"""Cut an unbounded sequence into overlapping frames, keeping only the tail.

Feature extraction and model chunking are the same operation at two time scales, so
they share this one buffer.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Framer:
    """Emit every complete frame of `length` items, advancing by `hop`.

    Items are scalars, or rows of `width` values when `width` is given. Not thread-safe:
    one stream owns one framer.
    """

    def __init__(self, length: int, hop: int, *, width: int | None = None) -> None:
        if not 0 < hop <= length:
            raise ValueError(f"hop must be in 1..{length}, got {hop}")
        self.length, self.hop = length, hop
        self._tail = torch.zeros((0,) if width is None else (0, width))

    @property
    def ready(self) -> int:
        """Number of complete frames that can be popped."""
        return max(0, (len(self._tail) - self.length) // self.hop + 1)

    @property
    def pending(self) -> int:
        """Number of items held."""
        return len(self._tail)

    def push(self, items: Tensor) -> None:
        """Append `items`, shaped (count,) or (count, width)."""
        self._tail = torch.cat((self._tail, items))

    def peek(self) -> Tensor:
        """The first complete frame, without removing it; IndexError if there is none."""
        if not self.ready:
            raise IndexError("no complete frame")
        return self._tail[: self.length]

    def drop(self) -> None:
        """Remove the first frame: advance by one hop."""
        self._tail = self._tail[self.hop :]

    def pop_span(self) -> Tensor:
        """Remove all complete frames and return the items they cover, still overlapping.

        The span of n frames has (n - 1) * hop + length items; it is empty for n = 0.
        """
        count = self.ready
        if count == 0:
            return self._tail[:0]
        span = self._tail[: (count - 1) * self.hop + self.length]
        self._tail = self._tail[count * self.hop :]
        return span

    def pad(self, count: int) -> None:
        """Append `count` zero items."""
        self.push(self._tail.new_zeros((count, *self._tail.shape[1:])))
