"""Exceptions of the daemon and the command line."""

from __future__ import annotations

from asr.errors import AsrError


class UsageError(Exception):
    """The command line makes no sense; told in one line, exit status 2."""


class InstallError(AsrError):
    """The service cannot be installed; the message says what would help."""


class UnknownStreamError(AsrError):
    """The daemon has no stream of that name."""


class NoStreamLeft(AsrError):
    """The daemon can hear nothing any more."""


class ControlError(AsrError):
    """The daemon cannot be asked, or has refused."""
