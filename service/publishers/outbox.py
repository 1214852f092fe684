"""A bounded queue that never makes its writer wait: it gives up partials first."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Outbox(Generic[T]):
    """What waits for one reader. For one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[tuple[T, bool]] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T, *, droppable: bool) -> bool:
        """Add an item. False where one that is not droppable was lost for it: the oldest."""
        whole = True
        if len(self._items) >= self._limit:
            whole = self._make_room(droppable)
            if len(self._items) >= self._limit:  # a partial before nothing but finals
                return True
        self._items.append((item, droppable))
        self._changed.set()
        return whole

    def close(self) -> None:
        """Nothing follows; what waits can still be taken."""
        self._closed = True
        self._changed.set()

    async def get(self) -> T | None:
        """The oldest item, or None at the end."""
        while not self._items:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._items.popleft()[0]

    def _make_room(self, for_droppable: bool) -> bool:
        for at, (_, droppable) in enumerate(self._items):
            if droppable:
                del self._items[at]
                return True
        if not for_droppable:
            self._items.popleft()
        return for_droppable
