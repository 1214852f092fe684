"""Exceptions of the daemon and the command line."""

from __future__ import annotations


class UsageError(Exception):
    """The command line makes no sense; told in one line, exit status 2."""
