"""What a publisher offers, and the fan-out that keeps slow ones from holding up the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from service.events import Event

from .outbox import Outbox


class Publisher(Protocol):
    """Takes events to somewhere."""

    async def publish(self, event: Event) -> None:
        """Take one event; may wait for whoever reads it."""
        ...

    async def aclose(self) -> None:
        """Release what is held; no event follows."""
        ...


class Fanout:
    """Gives every event to several publishers, none of which waits for another.

    A slow publisher loses partials first, then its oldest finals.
    """

    def __init__(self, publishers: Sequence[Publisher], limit: int = 256) -> None:
        """`limit` events wait for each publisher."""
        self._publishers = list(publishers)
        self._outboxes: list[Outbox[Event]] = [Outbox(limit) for _ in publishers]
        self._tasks: list[asyncio.Task[None]] = []
        self.lost = 0
        """Finals that a slow publisher never got."""

    def start(self) -> None:
        """Begin to publish, in the running event loop."""
        self._tasks = [
            asyncio.create_task(self._serve(publisher, outbox))
            for publisher, outbox in zip(self._publishers, self._outboxes, strict=True)
        ]

    async def publish(self, event: Event) -> None:
        """Hand over an event; raises what a publisher has failed with."""
        for outbox, task in zip(self._outboxes, self._tasks, strict=True):
            if task.done():
                task.result()
            self.lost += not outbox.put(event, droppable=not hasattr(event, "words"))

    async def aclose(self, seconds: float = 1.0) -> None:
        """Let all publish what waits, for so long at most, and close them."""
        for outbox in self._outboxes:
            outbox.close()
        errors: list[BaseException] = []
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            results = await asyncio.gather(*self._tasks, return_exceptions=True)
            errors = [r for r in results if isinstance(r, Exception)]
        await asyncio.gather(*(publisher.aclose() for publisher in self._publishers))
        if errors:
            raise errors[0]

    async def _serve(self, publisher: Publisher, outbox: Outbox[Event]) -> None:
        while (event := await outbox.get()) is not None:
            await publisher.publish(event)
