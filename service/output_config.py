"""Settings of the daemon's outputs: sockets, programs, metrics, kept audio.

Documented as `service.config` says, where they are joined with the rest.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from asr.errors import ConfigError

from .config_fields import check, list_of

MAX_SOCKET_PATH = 107
"""Bytes that the address of a unix socket can hold."""
TRANSCRIPTS_SOCKET, CONTROL_SOCKET = "asrd.sock", "asrd-control.sock"
MIN_TOKEN = 16
MIN_KEPT_MB = 1


@dataclass(frozen=True)
class TcpConfig:
    """JSON lines for subscribers on the network."""

    port: int = 0
    """Port to listen at; 0: off."""
    host: str = "127.0.0.1"
    """Address to listen at. Beyond this machine (0.0.0.0, say) clients need a token."""
    token: str = ""
    """Secret that clients send first, 16 characters or more."""
    token_file: str = ""
    """The same, kept in a file, so that this one may be read by all."""

    def __post_init__(self) -> None:
        check(0 <= self.port <= 65_535, "port", "must be from 0 to 65535", self.port)
        check(bool(self.host), "host", "must not be empty", self.host)
        if self.token and self.token_file:
            raise ConfigError("token and token_file exclude each other", "token_file")
        if self.token and len(self.token) < MIN_TOKEN:  # never shown, it is a secret
            raise ConfigError(f"token is shorter than {MIN_TOKEN} characters", "token")
        if self.port and not (self.token or self.token_file) and not is_loopback(self.host):
            raise ConfigError(
                f"host {self.host!r} can be reached by other machines, which needs a token "
                "(or token_file)", "host",
            )  # fmt: skip


@dataclass(frozen=True)
class CommandConfig:
    """A program that is started for each final."""

    run: tuple[str, ...] = list_of(["notify-send", "asrd"])
    """Program and arguments, no shell; empty: off. Its input is the final as a line of JSON."""
    only: Literal["all", "understood"] = "all"
    """all finals, or only those that are understood: commands of a grammar."""
    timeout: float = 10.0
    """Seconds until it is killed."""
    concurrency: int = 4
    """How many run at once; behind them 64 finals wait, then the oldest is dropped."""

    def __post_init__(self) -> None:
        check(not self.run or bool(self.run[0]), "run", "must begin with a program", self.run)
        check(0 < self.timeout <= 3600, "timeout", "must be above 0 and at most 3600",
               self.timeout)  # fmt: skip
        check(1 <= self.concurrency <= 32, "concurrency", "must be from 1 to 32",
               self.concurrency)  # fmt: skip


@dataclass(frozen=True)
class OutputsConfig:
    """Who gets the transcripts."""

    stdout: Literal["text", "json", "off"] = "off"
    """text, json or off. As a service, stdout is the journal: what was said would be kept."""
    socket: str = "auto"
    """Path of the unix socket that sends JSON lines to subscribers. auto: the one that systemd
    passes in, else asrd.sock in the runtime folder. off: none."""
    control: str = "auto"
    """Path of the unix socket that `asrd status` and `asrd control` ask. auto: the one that
    systemd passes in as "control", else asrd-control.sock in the runtime folder. off: none."""
    tcp: TcpConfig = field(default_factory=TcpConfig)
    command: CommandConfig = field(default_factory=CommandConfig)

    def __post_init__(self) -> None:
        for key, path in (("socket", self.socket), ("control", self.control)):
            check(bool(path), key, "must be a path, 'auto' or 'off'", path)
            check(len(path.encode()) <= MAX_SOCKET_PATH, key,
                   f"must be at most {MAX_SOCKET_PATH} bytes long", path)  # fmt: skip


@dataclass(frozen=True)
class MetricsConfig:
    """Counters for Prometheus, on this machine: http://127.0.0.1:PORT/metrics."""

    port: int = 0
    """Port to listen at; 0: off."""

    def __post_init__(self) -> None:
        check(0 <= self.port <= 65_535, "port", "must be from 0 to 65535", self.port)


@dataclass(frozen=True)
class KeepAudioConfig:
    """Keeps what was said, to adapt the model later. Off unless a folder is named."""

    folder: str = ""
    """For the system service: /var/lib/asrd/audio."""
    max_mb: int = 500
    """Megabytes that the folder may hold; the oldest utterances make room for new ones."""

    def __post_init__(self) -> None:
        check(self.max_mb >= MIN_KEPT_MB, "max_mb", f"must be at least {MIN_KEPT_MB}", self.max_mb)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; a name other than localhost may be any."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def socket_path(config: OutputsConfig, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where to open the transcripts' socket if systemd passes none in; None: nowhere."""
    return _runtime_path(config.socket, TRANSCRIPTS_SOCKET, environ)


def control_path(config: OutputsConfig, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The same for the control socket."""
    return _runtime_path(config.control, CONTROL_SOCKET, environ)


def _runtime_path(setting: str, name: str, environ: Mapping[str, str]) -> Path | None:
    if setting != "auto":
        return None if setting == "off" else Path(setting)
    if folder := environ.get("RUNTIME_DIRECTORY"):  # of a unit; may list several
        return Path(folder.split(":")[0]) / name
    return Path(environ.get("XDG_RUNTIME_DIR") or "/run") / "asrd" / name


def read_token(config: TcpConfig) -> str:
    """The secret of the TCP output, wherever it is kept; empty where none is needed.

    Raises ConfigError for a file that is too short or no text, OSError for one that cannot be read.
    """
    if not config.token_file:
        return config.token
    try:
        token = Path(config.token_file).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{config.token_file} is not UTF-8 text") from error
    if len(token) < MIN_TOKEN:
        raise ConfigError(f"{config.token_file} holds fewer than {MIN_TOKEN} characters")
    return token
