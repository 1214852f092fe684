"""Streaming conversion of one channel to another sample rate.

A thin shell around soxr's ResampleStream (LGPL, well kept, bundled as a wheel): its output
is the same for any cuts of the input.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from .errors import AudioFormatError

MIN_RATE, MAX_RATE = 8_000, 192_000


class Resampler:
    """Convert one stream of float32 samples from `orig_rate` to `new_rate` (Hz).

    Raises AudioFormatError for rates outside 8 to 192 kHz. The filter looks ahead: soxr
    holds back up to 115 ms at 8 kHz, until `flush`.
    """

    def __init__(self, orig_rate: int, new_rate: int) -> None:
        if not MIN_RATE <= orig_rate <= MAX_RATE:
            raise AudioFormatError(
                f"sample rate {orig_rate} Hz is outside {MIN_RATE} to {MAX_RATE} Hz"
            )
        self._stream = (
            None
            if orig_rate == new_rate
            else soxr.ResampleStream(orig_rate, new_rate, 1, dtype="float32", quality="HQ")
        )

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples shaped (count,), return those that are ready at the new rate."""
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def flush(self) -> NDArray[np.float32]:
        """End the stream: return what the filter still holds."""
        empty = np.zeros(0, np.float32)
        return empty if self._stream is None else self._stream.resample_chunk(empty, last=True)
