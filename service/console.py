"""The terminal side of a command: results on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tqdm import tqdm

from .events import Event, Partial
from .formats import printable

if TYPE_CHECKING:
    from types import TracebackType

_CLEAR_LINE = "\r\x1b[K"

_TAIL = 1000
"""Characters kept of a running transcript: more than a line of any terminal."""


class Console:
    """Shows live what goes on and keeps it apart from the results.

    On a terminal, a progress bar or the running transcript is one line that is drawn over
    and gone in the end. Elsewhere there is no bar, and each partial is a line of its own.
    """

    def __init__(self, sources: int, *, partials: bool) -> None:
        self._several = sources > 1
        self._terminal = sys.stderr.isatty()
        self._live = partials and self._terminal
        self._settled: dict[str, str] = {}
        self._bar = tqdm(
            total=sources,
            file=sys.stderr,
            disable=partials or not self._terminal,
            leave=False,
            bar_format="{l_bar}{bar}| {n:.1f}/{total} files [{elapsed}<{remaining}]",
        )

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._clear()

    def event(self, event: Event) -> None:
        """Show a partial or a final."""
        name = printable(event.stream) + ": " if self._several else ""
        if not self._live:
            kind = "partial" if isinstance(event, Partial) else "final"
            sys.stderr.write(f"{kind}: {name}{event.text}\n")
            return
        shown = f"{self._settled.get(event.stream, '')} {event.text}".strip()[-_TAIL:]
        if not isinstance(event, Partial):
            self._settled[event.stream] = shown
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80  # 0: it does not know
        # a line that wraps could not be drawn over: its end is what is new
        sys.stderr.write(_CLEAR_LINE + (name + shown)[1 - columns :])
        sys.stderr.flush()

    def progress(self, done: float) -> None:
        """Move the bar to that many sources."""
        if not self._bar.disable:
            self._bar.update(done - self._bar.n)

    def result(self, text: str) -> None:
        """Write complete lines to stdout."""
        self._clear()
        sys.stdout.write(text)
        sys.stdout.flush()

    def error(self, name: str, reason: str) -> None:
        """Write one line to stderr that names a source and what is wrong with it."""
        self._clear()
        sys.stderr.write(f"asrd: {printable(name)}: {printable(reason)}\n")
        sys.stderr.flush()

    def _clear(self) -> None:
        self._bar.clear()
        if self._live:
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()
