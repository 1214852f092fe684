"""Unix sockets that the daemon opens itself: who may connect, and what a stale one becomes."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from asr.errors import ConfigError


def bound(path: Path) -> socket.socket:
    """A socket file of mode 0660; a stale one is replaced, ConfigError for one in use."""
    if path.is_socket():
        if answers(path):
            raise ConfigError(f"{path}: another process serves this socket")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o117)  # so that it never has another mode
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.umask(mask)
    return listener


def make_folder(folder: Path) -> None:
    """The folder of a socket that is placed by itself: for its user alone."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)


def answers(path: Path) -> bool:
    """Whether anyone listens there."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True
