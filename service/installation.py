"""Which files make asrd a service of systemd, and where they go."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .config_file import default_file
from .errors import InstallError

_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
"""What ProtectHome and PrivateTmp keep from the system unit."""


@dataclass(frozen=True)
class InstalledFile:
    """A file of the service and its text."""

    path: Path
    text: str
    keep: bool = False
    """Whether one that is there already stays: people edit it."""


@dataclass(frozen=True)
class Installation:
    """All that makes the service known to systemd."""

    files: tuple[InstalledFile, ...]
    commands: tuple[tuple[str, ...], ...]
    """Run once the files are in place."""

    def write(self) -> list[Path]:
        """Write the files and give the paths of those that were written."""
        written = []
        for file in self.files:
            if file.keep and file.path.exists():
                continue
            file.path.parent.mkdir(parents=True, exist_ok=True)
            part = file.path.with_name(f".{file.path.name}.{os.getpid()}.part")
            try:
                part.write_text(file.text, encoding="utf-8")
                part.replace(file.path)
            finally:
                part.unlink(missing_ok=True)
            written.append(file.path)
        return written

    def activate(self) -> None:
        """Make systemd read and enable the units; InstallError with what it complained of."""
        for command in self.commands:
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError as error:
                raise InstallError(f"{command[0]} is not installed: is this systemd?") from error
            if done.returncode:
                reason = done.stderr.strip() or f"exit status {done.returncode}"
                raise InstallError(f"{' '.join(command)}: {reason}")


def plan(*, user: bool, prefix: Path | None = None) -> Installation:
    """What would be installed for the system, or for the session of the calling user.

    With a `prefix` the files go below it and systemd is not told, as packages are built.
    Raises InstallError where the service could not run.
    """
    program = _program()
    if not user:
        _require_visible(program)
    source = unit_folder()
    if user:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        units, source_unit = base / "systemd" / "user", source / "user" / "asrd.service"
    else:
        base = Path("/etc")
        units, source_unit = base / "systemd" / "system", source / "asrd.service"
    files = [InstalledFile(units / "asrd.service", with_program(source_unit.read_text(), program))]
    for name in ("asrd-control.socket",) if user else ("asrd.socket", "asrd-control.socket"):
        files.append(InstalledFile(units / name, source_unit.with_name(name).read_text()))
    drop_in = Path("asrd.service.d", "reload.conf")
    files.append(InstalledFile(units / drop_in, (source / drop_in).read_text(), keep=True))
    files.append(InstalledFile(base / "asrd" / "asrd.toml", default_file(), keep=True))
    if prefix is not None:
        below = prefix.absolute()
        files = [
            InstalledFile(below / file.path.absolute().relative_to("/"), file.text, file.keep)
            for file in files
        ]
        return Installation(tuple(files), ())
    systemctl = ("systemctl", "--user") if user else ("systemctl",)
    commands = ((*systemctl, "daemon-reload"), (*systemctl, "enable", "asrd.service"))
    return Installation(tuple(files), commands)


def unit_folder() -> Path:
    """The folder of the units: beside the source tree, below the environment or /usr/share."""
    roots = (
        Path(__file__).resolve().parent.parent / "systemd",
        Path(sys.prefix) / "share" / "asrd" / "systemd",
        Path("/usr/share/asrd/systemd"),
    )
    for root in roots:
        if (root / "asrd.service").is_file():
            return root
    raise InstallError(f"the units of systemd are not in {', '.join(map(str, roots))}")


def with_program(unit: str, program: Path) -> str:
    """The unit with another program in its ExecStart."""
    start = f"ExecStart={_quoted(str(program))} "
    return re.sub(r"^ExecStart=\S+ ", lambda _: start, unit, flags=re.MULTILINE)


def _program() -> Path:
    # not resolved: a link to the system's interpreter is what makes an environment one
    program = Path(sys.executable).absolute().with_name("asrd")
    if not os.access(program, os.X_OK):
        raise InstallError(f"{program} is not there: install asrd with pip first")
    return program


def _require_visible(program: Path) -> None:
    # an environment outside may use an interpreter, and an editable install code, from within
    for path in (program, Path(sys.executable).resolve(), Path(__file__).resolve()):
        for hidden in _HIDDEN:
            if path.is_relative_to(hidden):
                raise InstallError(
                    f"{path} lies in {hidden}, where system services see nothing: install asrd "
                    "and its Python in /opt, say, or use --user"
                )


def _quoted(text: str) -> str:
    """As systemd.service(5) reads a word of a command line."""
    escaped = text.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[^\s\"']+", escaped):
        return escaped
    return '"' + escaped.replace('"', '\\"') + '"'
