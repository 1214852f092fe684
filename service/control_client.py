"""Ask the running daemon something: connect, one request, one reply."""

from __future__ import annotations

import grp
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import ControlError
from .output_config import CONTROL_SOCKET

TIMEOUT = 10.0
"""Seconds; a daemon that is alive answers at once, one that systemd starts first a bit later."""
MAX_REPLY = 4_000_000
SYSTEM_FOLDER = Path("/run")


class ControlClient:
    """A connection to the daemon; to be closed. ControlError for all that can go wrong."""

    def __init__(self, path: Path, timeout: float = TIMEOUT, max_reply: int = MAX_REPLY) -> None:
        self._path, self._max_reply = path, max_reply
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise ControlError(_reason(path, error)) from error
        self._replies = self._socket.makefile("rb")

    def request(self, **request: Any) -> dict[str, Any]:
        """Send a request and give the reply; ControlError with the daemon's words if it is no."""
        with self._told():
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        return self.reply()

    def reply(self) -> dict[str, Any]:
        """The next reply."""
        with self._told():
            line = self._replies.readline(self._max_reply)
        try:
            found = json.loads(line)
        except ValueError as error:
            what = "closed the connection" if not line else "does not speak asrd's protocol"
            raise ControlError(f"{self._path}: the other side {what}") from error
        if not isinstance(found, dict) or not found.get("ok"):
            reason = found.get("error") if isinstance(found, dict) else None
            raise ControlError(str(reason or "the daemon refused"))
        return found

    def send(self, packets: Iterable[bytes]) -> None:
        """Send audio as fast as the daemon takes it, tell it the end, and wait for its word."""
        self._socket.settimeout(None)  # a busy recogniser, or a microphone behind a pipe
        with suppress(BrokenPipeError, ConnectionResetError):  # its reply says why
            for packet in packets:
                self._socket.sendall(packet)
            self._socket.shutdown(socket.SHUT_WR)
        self.reply()

    def fileno(self) -> int:
        """For `select`: readable without a request, the daemon has gone."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._replies.close()
        self._socket.close()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise ControlError(f"{self._path}: the daemon does not answer") from error
        except OSError as error:
            raise ControlError(f"{self._path}: the other side closed the connection") from error


def candidates(
    name: str = CONTROL_SOCKET, environ: Mapping[str, str] = os.environ
) -> list[Path]:
    """Where a daemon's socket may be: of this service, this session, the system."""
    folders = [Path(name) for name in environ.get("RUNTIME_DIRECTORY", "").split(":") if name]
    if session := environ.get("XDG_RUNTIME_DIR"):
        folders += [Path(session) / "asrd", Path(session)]
    folders += [SYSTEM_FOLDER, SYSTEM_FOLDER / "asrd"]
    return [folder / name for folder in folders]


def find_socket(environ: Mapping[str, str] = os.environ) -> Path:
    """The first of these that is there; ControlError where none is."""
    places = candidates(environ=environ)
    for path in places:
        with suppress(OSError):
            if path.is_socket():
                return path
    looked = ", ".join(map(str, places))
    raise ControlError(f"not running: there is no socket at {looked}")


def permission_advice(path: Path) -> str:
    """What would let this user connect."""
    try:
        status = path.stat()
        name = grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        return "only its owner may connect"
    if status.st_mode & 0o060 == 0o060 and name != "root":
        return f"its users are in the group {name}: sudo usermod -aG {name} $USER, then log in anew"
    return "only its owner may connect"


def _reason(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"{path}: permission denied; {permission_advice(path)}"
    if isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
        return f"not running: nobody serves {path}"
    if isinstance(error, TimeoutError):
        return f"{path}: the daemon does not answer"
    return f"{path}: {(error.strerror or str(error)).lower()}"
