"""What a changed configuration asks of the running daemon: a reload, or a restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from .config import DaemonConfig

RELOADABLE = (
    "endpointing",
    "logging",
    "recognition.grammar",
    "recognition.hotwords",
    "recognition.names",
    "recognition.threshold",
    "wake",
)
"""Sections and keys that SIGHUP changes without dropping a stream."""


@dataclass(frozen=True)
class Changes:
    """Keys that differ, in the order of the file."""

    reload: tuple[str, ...] = ()
    """Those that take effect on SIGHUP."""
    restart: tuple[str, ...] = ()
    """Those that take effect when the daemon is started again."""

    def __str__(self) -> str:
        """The same in words; names only, since a value may be a secret."""
        words = []
        if self.reload:
            words.append(f"changed: {', '.join(self.reload)}")
        if self.restart:
            words.append(f"needs a restart, kept as it was: {', '.join(self.restart)}")
        return "; ".join(words) or "nothing changed"


def changes(old: DaemonConfig, new: DaemonConfig) -> Changes:
    """How two configurations differ.

    Files that they name (grammars, hot words) may have changed all the same: a reload reads
    these anew.
    """
    found = list(_different(old, new))
    reload = tuple(key for key in found if is_reloadable(key))
    return Changes(reload, tuple(key for key in found if key not in reload))


def reloaded(old: DaemonConfig, new: DaemonConfig) -> DaemonConfig:
    """The old configuration with all of the new one that SIGHUP can change."""
    found: DaemonConfig = _reloaded(old, new)
    return found


def is_reloadable(key: str) -> bool:
    """Whether SIGHUP can change a key."""
    return any(f"{key}.".startswith(f"{name}.") for name in RELOADABLE)


def _reloaded(old: Any, new: Any, where: str = "") -> Any:
    values = {}
    for field in fields(old):
        key, before, after = where + field.name, getattr(old, field.name), getattr(new, field.name)
        if is_reloadable(key):
            values[field.name] = after
        elif is_dataclass(before):
            values[field.name] = _reloaded(before, after, f"{key}.")
    return replace(old, **values)


def _different(old: Any, new: Any, where: str = "") -> Iterator[str]:
    for field in fields(old):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if is_dataclass(before):
            yield from _different(before, after, f"{where}{field.name}.")
        elif before != after:
            yield where + field.name
