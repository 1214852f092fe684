"""Who holds push-to-talk pressed: it is released when the last one lets go."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from typing import Protocol

from .errors import UnknownStreamError

KEPT = "kept"
"""The holder of what stays pressed without a connection."""


class Talk(Protocol):
    """Push-to-talk of one stream, or of all."""

    def __call__(self, stream: str | None, *, on: bool) -> None: ...


class PushToTalk:
    """Counts presses of several holders. The stream None, all of them, is a button of its own."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._holders: dict[str | None, set[Hashable]] = {}

    def press(self, stream: str | None, holder: Hashable) -> None:
        """Talk; raises what `talk` does, and nothing is held then."""
        self._talk(stream, on=True)
        self._holders.setdefault(stream, set()).add(holder)

    def release(self, stream: str | None, holder: Hashable) -> None:
        """Let go; what was kept pressed is released by anyone."""
        holders = self._holders.get(stream, set())
        holders -= {holder, KEPT}
        if not holders:
            self._holders.pop(stream, None)
            self._end(stream)

    def let_go(self, holder: Hashable) -> None:
        """Release all that the holder has pressed."""
        for stream in [name for name, holders in self._holders.items() if holder in holders]:
            self._holders[stream].discard(holder)
            if not self._holders[stream]:
                del self._holders[stream]
                with suppress(UnknownStreamError):  # it may have ended meanwhile
                    self._end(stream)

    def _end(self, stream: str | None) -> None:
        if None in self._holders:  # the button of all still holds this one
            return
        self._talk(stream, on=False)
        if stream is None:
            for name in self._holders:
                with suppress(UnknownStreamError):
                    self._talk(name, on=True)
