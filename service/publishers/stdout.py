"""Transcripts on standard output: text for people, JSON lines for programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from typing import TextIO

from service.events import Event, Partial, event_document
from service.formats import NOT_UNDERSTOOD, printable

from .blocking import BlockingWriter

_CLEAR_LINE = "\r\x1b[K"


class TextPublisher:
    """A line for each final; on a terminal the partial is drawn below, over and over."""

    def __init__(self, file: TextIO, *, names: bool = False) -> None:
        """With `names` each line begins with its stream's."""
        self._file, self._names, self._terminal = file, names, file.isatty()
        self._writer = BlockingWriter(file)

    async def publish(self, event: Event) -> None:
        if isinstance(event, Partial) and not self._terminal:
            return
        name = f"{printable(event.stream)}: " if self._names else ""
        if isinstance(event, Partial):
            columns = os.get_terminal_size(self._file.fileno()).columns or 80
            # a line that wraps could not be drawn over: its end is what is new
            text = _CLEAR_LINE + (name + event.text)[1 - columns :]
        else:
            unclear = event.understood is False and not event.wake
            mark = NOT_UNDERSTOOD if unclear else ""
            text = f"{_CLEAR_LINE if self._terminal else ''}{name}{mark}{event.text}\n"
        await self._writer.write(text)

    async def aclose(self) -> None:
        if self._terminal:
            with contextlib.suppress(TimeoutError):  # stopped by Ctrl-S, say
                await asyncio.wait_for(self._writer.write(_CLEAR_LINE), 1.0)
        self._writer.close()


class JsonPublisher:
    """A line of JSON for each event, see docs/events.md."""

    def __init__(self, file: TextIO, began: Callable[[str], float]) -> None:
        """`began` gives the Unix time at a stream's time 0."""
        self._writer, self._began = BlockingWriter(file), began

    async def publish(self, event: Event) -> None:
        await self._writer.write(json_line(event, self._began(event.stream)))

    async def aclose(self) -> None:
        """The file belongs to its giver."""
        self._writer.close()


def json_line(event: Event, began: float) -> str:
    """The event as one line."""
    return json.dumps(event_document(event, began), ensure_ascii=False) + "\n"
