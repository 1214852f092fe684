"""The daemon's settings: one frozen dataclass for each section of its TOML file.

The docstring under a field is its comment in the default file (`service.config_file`), which
is made from these classes. Empty strings and lists mean "none". An `example` in a field's
metadata is shown where its default says nothing.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from asr.errors import ConfigError

from .endpointing import EndpointConfig

MAX_SOCKET_PATH = 107
"""Bytes that the address of a unix socket can hold."""
TRANSCRIPTS_SOCKET, CONTROL_SOCKET = "asrd.sock", "asrd-control.sock"
MIN_TOKEN = 16
MIN_KEPT_MB = 1


def _check(holds: bool, key: str, reason: str, value: object) -> None:
    if not holds:
        raise ConfigError(f"{key} {reason}, got {value!r}", key)


def _optional(example: Any) -> Any:
    return field(default=None, metadata={"example": example})


def _list(example: Any) -> Any:
    return field(default=(), metadata={"example": example})


@dataclass(frozen=True)
class RecognitionConfig:
    """What is recognised and how."""

    model: str = ""
    """Folder of the model; empty: the one that comes with asrd."""
    decoder: str = ""
    """greedy, beam or lm; empty: the model's best."""
    hotwords: str = ""
    """File with phrases to prefer, one a line."""
    grammar: tuple[str, ...] = _list(["home.yaml"])
    """Files with commands to understand (Home Assistant's sentences); empty: free speech."""
    names: tuple[str, ...] = _list(["names.yaml"])
    """Files with more lists and rules for the grammar: names, areas."""
    threshold: float | None = _optional(1.5)
    """How unlike a command speech may be and still count as it, in nats a letter or word piece;
    0 rejects all but the likeliest text. Without it, the model's."""
    threads: int = 1
    """CPU threads of the network."""

    def __post_init__(self) -> None:
        _check(self.threads >= 1, "threads", "must be at least 1", self.threads)
        if self.threshold is not None:
            _check(self.threshold >= 0, "threshold", "must not be negative", self.threshold)
        if not self.grammar and (self.names or self.threshold is not None):
            key = "names" if self.names else "threshold"
            raise ConfigError(f"{key} is of no use without a grammar", key)


Mode = Literal["snappy", "normal", "patient"]

ENDPOINT_MODES: dict[Mode, EndpointConfig] = {
    "snappy": EndpointConfig(silence_after_speech=0.5, max_utterance=15.0, hard_limit=20.0),
    "normal": EndpointConfig(silence_after_speech=0.8),
    "patient": EndpointConfig(silence_after_speech=1.6, max_utterance=60.0, hard_limit=70.0),
}


@dataclass(frozen=True)
class EndpointingConfig:
    """When an utterance is over. All values are seconds."""

    mode: Mode = "normal"
    """snappy, normal or patient: how long a pause may be. Each value below overrides the mode's."""
    silence_after_speech: float | None = _optional(0.8)
    """Silence that ends an utterance with words."""
    silence_after_command: float | None = _optional(0.35)
    """The same where a command is complete and none goes on like it."""
    silence_without_speech: float | None = _optional(5.0)
    """Silence that ends one without."""
    max_utterance: float | None = _optional(30.0)
    """Length from which on the next gap between words ends the utterance."""
    gap: float | None = _optional(0.3)
    """Silence that counts as such a gap."""
    hard_limit: float | None = _optional(35.0)
    """Length that ends an utterance wherever it is."""

    def __post_init__(self) -> None:
        self.rules()

    def rules(self) -> EndpointConfig:
        """The mode's rules with what is overridden. Raises ConfigError for a contradiction."""
        preset = ENDPOINT_MODES[self.mode]
        own = {rule.name: getattr(self, rule.name) for rule in fields(preset)}
        return EndpointConfig(
            **{name: getattr(preset, name) if v is None else v for name, v in own.items()}
        )


@dataclass(frozen=True)
class MicrophoneConfig:
    """A microphone. Repeat the section for more; `microphones = []` at the top: none."""

    name: str = "microphone"
    """What its transcripts are called; each microphone has another one."""
    device: str = ""
    """Name of the device or a part of it (`asrd devices` will list them); empty: the default."""

    def __post_init__(self) -> None:
        _check(bool(self.name.strip()), "name", "must not be empty", self.name)


@dataclass(frozen=True)
class GateConfig:
    """Keeps the network idle while nobody speaks."""

    enabled: bool = True
    """false: the network hears everything, silence too."""
    pre_roll: float = 0.5
    """Seconds heard before speech was noticed, so that no first word is lost."""
    close_after: float = 3.0
    """Seconds without speech after which the network rests."""

    def __post_init__(self) -> None:
        _check(0 <= self.pre_roll <= 5, "pre_roll", "must be from 0 to 5", self.pre_roll)
        _check(0 < self.close_after <= 600, "close_after", "must be above 0 and at most 600",
               self.close_after)  # fmt: skip


@dataclass(frozen=True)
class WakeConfig:
    """Commands count only after a wake phrase. Needs a grammar."""

    phrases: tuple[str, ...] = _list(["computer"])
    """Any of these opens the ear; empty: commands always count."""
    seconds: float = 5.0
    """How long it stays open after the phrase."""

    def __post_init__(self) -> None:
        _check(0 < self.seconds <= 300, "seconds", "must be above 0 and at most 300", self.seconds)
        for phrase in self.phrases:
            _check(bool(phrase.strip()), "phrases", "must hold words", phrase)


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
        _check(0 <= self.port <= 65_535, "port", "must be from 0 to 65535", self.port)
        _check(bool(self.host), "host", "must not be empty", self.host)
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

    def __post_init__(self) -> None:
        for key, path in (("socket", self.socket), ("control", self.control)):
            _check(bool(path), key, "must be a path, 'auto' or 'off'", path)
            _check(len(path.encode()) <= MAX_SOCKET_PATH, key,
                   f"must be at most {MAX_SOCKET_PATH} bytes long", path)  # fmt: skip


@dataclass(frozen=True)
class MetricsConfig:
    """Counters for Prometheus, on this machine: http://127.0.0.1:PORT/metrics."""

    port: int = 0
    """Port to listen at; 0: off."""

    def __post_init__(self) -> None:
        _check(0 <= self.port <= 65_535, "port", "must be from 0 to 65535", self.port)


@dataclass(frozen=True)
class KeepAudioConfig:
    """Keeps what was said, to adapt the model later. Off unless a folder is named."""

    folder: str = ""
    """For the system service: /var/lib/asrd/audio."""
    max_mb: int = 500
    """Megabytes that the folder may hold; the oldest utterances make room for new ones."""

    def __post_init__(self) -> None:
        _check(self.max_mb >= MIN_KEPT_MB, "max_mb", f"must be at least {MIN_KEPT_MB}", self.max_mb)


@dataclass(frozen=True)
class LoggingConfig:
    """What is written to the log. Transcripts are, with debug only."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""


@dataclass(frozen=True)
class DaemonConfig:
    """All settings of the daemon."""

    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    endpointing: EndpointingConfig = field(default_factory=EndpointingConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    wake: WakeConfig = field(default_factory=WakeConfig)
    outputs: OutputsConfig = field(default_factory=OutputsConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    keep_audio: KeepAudioConfig = field(default_factory=KeepAudioConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    microphones: tuple[MicrophoneConfig, ...] = (MicrophoneConfig(),)

    def __post_init__(self) -> None:
        names: set[str] = set()
        for i, microphone in enumerate(self.microphones):
            if microphone.name in names:
                raise ConfigError(
                    f"two microphones are called {microphone.name!r}", f"microphones[{i}].name"
                )
            names.add(microphone.name)
        if self.wake.phrases and not self.recognition.grammar:
            raise ConfigError("a wake phrase needs recognition.grammar", "wake.phrases")


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

    Raises ConfigError for a file that is too short, OSError for one that cannot be read.
    """
    if not config.token_file:
        return config.token
    token = Path(config.token_file).read_text(encoding="utf-8").strip()
    if len(token) < MIN_TOKEN:
        raise ConfigError(f"{config.token_file} holds fewer than {MIN_TOKEN} characters")
    return token
