"""A daemon without model or microphones, for tests of whoever asks it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import UnknownStreamError
from service.health import Health
from service.sources.base import Inlet


class FakeDaemon:
    """Writes down what it is asked for, and keeps the audio that it is given."""

    def __init__(self, *streams: str) -> None:
        self.health = Health()
        for name in streams:
            self.health.stream(name).state = "listening"
        self.asked: list[tuple[str, str | None]] = []
        self.changed = asyncio.Event()
        """Set whenever something was written down."""
        self.heard: dict[str, list[NDArray[np.float32]]] = {}
        self.rates: dict[str, int] = {}
        self.listens = asyncio.Event()
        """Cleared, no client's audio is taken."""
        self.listens.set()

    def status(self) -> dict[str, Any]:
        return self.health.document() | {"subscribers": 2, "lost_finals": 1}

    def flush(self, stream: str | None) -> None:
        self._note("flush", stream)

    def mute(self, stream: str | None) -> None:
        self._note("mute", stream)

    def unmute(self, stream: str | None) -> None:
        self._note("unmute", stream)

    def talk(self, stream: str | None, *, on: bool) -> None:
        self._note("talk" if on else "quiet", stream)

    async def hear(self, inlet: Inlet) -> None:
        stream, blocks = self.health.stream(inlet.name), list[NDArray[np.float32]]()
        self.heard[inlet.name] = blocks
        async with inlet.open() as source:
            self.rates[inlet.name] = source.sample_rate
            stream.state = "listening"
            self._note("hear", inlet.name)
            async for samples in source:
                blocks.append(samples)
                await self.listens.wait()
        stream.state = "ended"
        self._note("heard", inlet.name)

    async def until(self, *noted: tuple[str, str | None]) -> None:
        """Wait until exactly that was asked for."""
        while self.asked != list(noted):
            self.changed.clear()
            await self.changed.wait()

    def _note(self, what: str, stream: str | None) -> None:
        if stream is not None and stream not in self.health.streams:
            raise UnknownStreamError(f"no stream {stream!r}")
        self.asked.append((what, stream))
        self.changed.set()
