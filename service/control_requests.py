"""What a control client may write: one JSON object a line, checked before anything is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from asr import schema
from asr.errors import AsrError, ConfigError
from asr.resample import MAX_RATE, MIN_RATE

MAX_LINE = 65_536
"""Bytes of a request."""
MAX_NAME = 64
MAX_CHANNELS = 8
MAX_REASON = 200
"""Characters of an error: it may quote what the client sent."""


class RequestError(AsrError):
    """A request cannot be understood or granted."""


class AudioRefused(RequestError):
    """A request to send audio cannot be granted; what follows it is no line."""


@dataclass(frozen=True)
class StatusRequest:
    """Asks for everything there is to know."""

    action: Literal["status"]


@dataclass(frozen=True)
class StreamRequest:
    """Asks one stream, or all of them, to do something."""

    action: Literal["flush", "mute", "unmute"]
    stream: str | None = None


@dataclass(frozen=True)
class TalkRequest:
    """Presses or releases push-to-talk."""

    action: Literal["talk"]
    on: bool
    stream: str | None = None
    keep: bool = False
    """Whether it stays pressed when the connection goes away."""


@dataclass(frozen=True)
class AudioRequest:
    """Makes the connection a source of raw 16-bit little-endian PCM."""

    action: Literal["audio"]
    stream: str
    rate: int = 16_000
    channels: int = 1

    def __post_init__(self) -> None:
        name = self.stream
        if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
            raise ConfigError(f"stream must be a printable name of 1 to {MAX_NAME} characters")
        if not MIN_RATE <= self.rate <= MAX_RATE:
            raise ConfigError(f"rate must be from {MIN_RATE} to {MAX_RATE} Hz, got {self.rate}")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ConfigError(f"channels must be from 1 to {MAX_CHANNELS}, got {self.channels}")


Request = StatusRequest | StreamRequest | TalkRequest | AudioRequest

REQUESTS: Mapping[str, type[Request]] = MappingProxyType(
    {
        "status": StatusRequest, "flush": StreamRequest, "mute": StreamRequest,
        "unmute": StreamRequest, "talk": TalkRequest, "audio": AudioRequest,
    }
)  # fmt: skip
"""By the name of the action."""


def parse_request(line: bytes) -> Request:
    """The request in a line; RequestError says in one line what is wrong with it."""
    try:
        table = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise RequestError("not a line of JSON") from error
    if not isinstance(table, dict):
        raise RequestError("a request is a JSON object")
    action = table.get("action")
    cls = REQUESTS.get(action) if isinstance(action, str) else None
    if cls is None:
        known = ", ".join(REQUESTS)
        raise RequestError(f"action must be one of {known}, got {action!r}")
    try:
        return schema.build(cls, table)
    except ConfigError as error:
        refused = AudioRefused if cls is AudioRequest else RequestError
        raise refused(str(error)) from error


def reply(**values: Any) -> bytes:
    """The line that says that all is well."""
    return _line({"ok": True} | values)


def refusal(reason: str) -> bytes:
    """The line that says what is not."""
    words = " ".join(reason.split())
    return _line({"ok": False, "error": words[:MAX_REASON]})


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
