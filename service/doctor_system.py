"""What may be wrong with the daemon's place in the system: its sockets and its units."""

from __future__ import annotations

import grp
import os
import shutil
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .control_client import ControlClient, candidates, permission_advice
from .doctor import Finding
from .errors import ControlError
from .output_config import CONTROL_SOCKET, TRANSCRIPTS_SOCKET, OutputsConfig

SYSTEMD = Path("/run/systemd/system")
"""There where systemd is what runs services (sd_booted(3))."""
TIMEOUT = 10.0

Scope = Literal["user", "system"]


@dataclass(frozen=True)
class Unit:
    """What systemd says of a unit."""

    active: str
    enabled: str

    @property
    def installed(self) -> bool:
        return self.enabled not in ("", "not-found")


def ask_systemd(scope: Scope, name: str) -> Unit | None:
    """None where there is no systemd, or none of this user."""
    if not SYSTEMD.is_dir() or shutil.which("systemctl") is None:
        return None
    command = ["systemctl", *(["--user"] if scope == "user" else [])]
    found = []
    for question in ("is-active", "is-enabled"):
        done = subprocess.run(
            [*command, question, name], capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        if "connect to bus" in done.stderr:
            return None
        found.append(done.stdout.strip())
    return Unit(*found)


def services() -> Iterator[Finding]:
    """That a unit is installed, starts at boot and runs."""
    if not SYSTEMD.is_dir():
        yield Finding("ok", "service", "systemd does not run here")
        return
    scopes: tuple[Scope, ...] = ("user", "system")
    units = {scope: ask_systemd(scope, "asrd.service") for scope in scopes}
    installed = {scope: unit for scope, unit in units.items() if unit and unit.installed}
    for scope, unit in installed.items():
        yield _service(scope, unit)
    if not installed:
        yield Finding("warn", "service",
                      "not installed: asrd install-service, with --user on a desktop")  # fmt: skip


def _service(scope: Scope, unit: Unit) -> Finding:
    option = " --user" if scope == "user" else ""
    name, text = f"{scope} service", f"{unit.active}, {unit.enabled}"
    why = f"journalctl{option} -u asrd -e says why"
    if unit.active == "failed":
        return Finding("FAIL", name, f"{text}: {why}")
    if unit.active == "activating":  # what fails at its start is started again and again
        return Finding("warn", name, f"{text}: just starting, or failing each time: {why}")
    if unit.active != "active":
        return Finding("warn", name, f"{text}: systemctl{option} start asrd")
    if not unit.enabled.startswith("enabled"):
        text += f", will not start by itself: systemctl{option} enable asrd"
        return Finding("warn", name, text)
    return Finding("ok", name, text)


def sockets(config: OutputsConfig, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """That the transcripts' and the control socket are served and this user may connect."""
    for name, setting, file in (
        ("transcripts socket", config.socket, TRANSCRIPTS_SOCKET),
        ("control socket", config.control, CONTROL_SOCKET),
    ):
        if setting == "off":
            yield Finding("ok", name, "off in the configuration")
            continue
        places = candidates(file, environ) if setting == "auto" else [Path(setting)]
        path = next((place for place in places if os.path.lexists(place)), None)
        if path is None:
            yield Finding("warn", name, "not there: asrd is not running")
        else:
            yield _socket(name, path, asks=file == CONTROL_SOCKET)


def _socket(name: str, path: Path, *, asks: bool) -> Finding:
    status = path.stat()
    if not stat.S_ISSOCK(status.st_mode):
        return Finding("FAIL", name, f"{path} is no socket: remove it")
    if not os.access(path, os.R_OK | os.W_OK):
        return Finding("FAIL", name, f"{path}: permission denied; {permission_advice(path)}")
    where = f"{path} (mode {stat.S_IMODE(status.st_mode):o}, group {_group(status.st_gid)})"
    if _only_held(path):  # a connection would start the daemon
        return Finding("ok", name, f"{where}: held by systemd, the first client starts asrd")
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT)
            client.connect(str(path))
            server = _server(client)
        if asks:
            with ControlClient(path) as control:
                control.request(action="status")
    except (OSError, ControlError) as error:
        if isinstance(error, ConnectionRefusedError):
            return Finding("warn", name, f"{path}: left behind, asrd is not running")
        return Finding("FAIL", name, str(error))
    if status.st_mode & 0o007:
        return Finding("warn", name, f"{where}: everybody may connect; chmod o= {path}")
    return Finding("ok", name, f"{where}: served by {server}")


def _only_held(path: Path) -> bool:
    """Whether systemd listens there for a daemon that it has not started yet."""
    scope: Scope = "user" if path.is_relative_to("/run/user") else "system"
    held, service = ask_systemd(scope, f"{path.stem}.socket"), ask_systemd(scope, "asrd.service")
    active = held is not None and held.active == "active"
    return active and service is not None and service.active in ("inactive", "failed")


def _server(client: socket.socket) -> str:
    size = struct.calcsize("3i")
    pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    try:
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (process {pid})"
    except OSError:  # of another container, it has no number here
        return f"process {pid}"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
