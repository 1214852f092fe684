"""Raw 16-bit little-endian PCM that a client writes into its connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from asr.audio import PcmConverter

from .base import BLOCK_SECONDS, Samples


@dataclass(frozen=True)
class ConnectionInlet:
    """The audio of one client, to where it ends its side of the connection."""

    name: str
    sample_rate: int
    channels: int
    reader: asyncio.StreamReader

    @property
    def returns(self) -> bool:
        return False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ConnectionSource]:
        """The source."""
        yield ConnectionSource(self)


class ConnectionSource:
    """Reads when the recogniser asks: what it is too slow for, waits in the client."""

    def __init__(self, inlet: ConnectionInlet) -> None:
        self.name, self.sample_rate = inlet.name, inlet.sample_rate
        self._channels, self._reader = inlet.channels, inlet.reader

    async def __aiter__(self) -> AsyncIterator[Samples]:
        size = max(1, round(BLOCK_SECONDS * self.sample_rate)) * 2 * self._channels
        converter = PcmConverter(self._channels)
        while data := await self._read(size):
            samples = converter.push(data)
            if len(samples):
                yield samples.mean(axis=1)

    async def _read(self, size: int) -> bytes:
        try:
            return await self._reader.read(size)
        except ConnectionError:  # a client that vanished: what it said is finished all the same
            return b""
