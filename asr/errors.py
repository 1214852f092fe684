"""Exceptions raised on purpose by the recogniser library.

::

    AsrError
    ├── AudioError             audio that cannot be used
    │   ├── AudioFormatError   samples of a wrong rate, shape or value
    │   └── AudioFileError     a file that is missing, empty, truncated or no audio
    ├── SessionClosed          audio given to a session that was finished
    ├── BundleError            a model folder that is incomplete, damaged or of another version
    ├── GrammarError           a command grammar with a mistake, told with file and line
    ├── ManifestError          a list of recordings that cannot be read
    └── ConfigError            a setting that is unknown, ill-typed or out of range

Every message names the offending thing and says what is wrong with it in one line.
"""

from __future__ import annotations

from pathlib import Path


class AsrError(Exception):
    """Base class of everything the library raises on purpose."""


class AudioError(AsrError):
    """Audio cannot be used."""


class AudioFormatError(AudioError):
    """Samples have a wrong rate, shape or value."""


class AudioFileError(AudioError):
    """A file cannot be read as audio."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class SessionClosed(AsrError):
    """Audio was given to a session that has already been finished."""


class BundleError(AsrError):
    """A model bundle is incomplete, damaged, or written for another version."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class GrammarError(AsrError):
    """A command grammar holds a mistake."""

    def __init__(self, path: Path | str, line: int | None, reason: str) -> None:
        super().__init__(f"{path}:{line}: {reason}" if line else f"{path}: {reason}")
        self.path = path
        self.line = line
        """Counted from 1; None where the whole file is meant."""
        self.reason = reason


class ManifestError(AsrError):
    """A list of recordings cannot be read."""


class ConfigError(AsrError):
    """A setting is unknown, ill-typed or out of range."""
