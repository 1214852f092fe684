"""Exceptions raised on purpose by the recogniser library.

::

    AsrError
    ├── AudioError             audio that cannot be used
    │   ├── AudioFormatError   samples of a wrong rate, shape or value
    │   └── AudioFileError     a file that is missing, empty, truncated or no audio
    ├── SessionClosed          audio given to a session that was finished
    ├── BundleError            a model folder that is incomplete, damaged or of another version
    ├── HotwordError           a list of hot words that cannot be used
    ├── GrammarError           a command grammar with a mistake, told with file and line
    ├── ManifestError          a list of recordings that cannot be read
    ├── PackError              packed files that are damaged, unsafe or not all there
    ├── TextError              a text that cannot be read
    ├── LanguageModelError     a language model that is damaged, ill-formed or cannot be estimated
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


class HotwordError(AsrError):
    """A list of hot words cannot be used."""


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


class PackError(AsrError):
    """Files packed for another machine are damaged, unsafe or not all there."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class TextError(AsrError):
    """A text cannot be read."""

    def __init__(self, path: Path | str, reason: str, line: int | None = None) -> None:
        super().__init__(f"{path}: {reason}" if line is None else f"{path}:{line}: {reason}")
        self.path = path
        self.reason = reason
        self.line = line


class LanguageModelError(AsrError):
    """A language model is damaged, ill-formed, of another version, or cannot be estimated."""

    def __init__(self, path: Path | str, reason: str, line: int | None = None) -> None:
        super().__init__(f"{path}: {reason}" if line is None else f"{path}:{line}: {reason}")
        self.path = path
        self.reason = reason
        self.line = line


class ConfigError(AsrError):
    """A setting is unknown, ill-typed or out of range."""

    def __init__(self, reason: str, key: str = "") -> None:
        super().__init__(reason)
        self.key = key
        """Dotted name of the setting that is meant, where a single one is."""
