"""Building blocks of settings: checks that name their key, and defaults with an example."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from asr.errors import ConfigError


def check(holds: bool, key: str, reason: str, value: object) -> None:
    """ConfigError, at the key, unless it holds."""
    if not holds:
        raise ConfigError(f"{key} {reason}, got {value!r}", key)


def optional(example: Any) -> Any:
    """A key that is not set by default; the example stands in the default file."""
    return field(default=None, metadata={"example": example})


def list_of(example: Any) -> Any:
    """A list that is empty by default."""
    return field(default=(), metadata={"example": example})
