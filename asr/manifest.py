"""Lists of recordings: JSON lines with `audio`, `text`, `speaker`, `seconds`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ManifestError


@dataclass(frozen=True)
class Recording:
    """One recording of a manifest."""

    id: str
    audio: Path
    text: str | None
    """The transcript, or None where the manifest has none."""
    speaker: str = ""
    seconds: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """All other keys of the manifest's line."""


@dataclass(frozen=True)
class SpokenWord:
    """A word as an aligner found it, in seconds from the recording's start."""

    text: str
    start: float
    end: float


def spoken_words(recording: Recording) -> tuple[SpokenWord, ...]:
    """What `words` (`[word, start, end]` each) tells of a recording; nothing without it.

    Raises ManifestError naming the recording.
    """
    found = []
    for item in recording.extra.get("words") or ():
        if not (isinstance(item, list) and len(item) == 3 and isinstance(item[0], str)
                and all(isinstance(time, int | float) for time in item[1:])):  # fmt: skip
            raise ManifestError(f"{recording.id}: expected [word, start, end], got {item!r}")
        found.append(SpokenWord(item[0], float(item[1]), float(item[2])))
    return tuple(found)


def read_manifest(path: Path) -> list[Recording]:
    """All recordings of a manifest.

    `audio` is resolved against the manifest's folder, then against that folder's parent.
    Raises ManifestError naming file and line.
    """
    return list(_recordings(path))


def evenly(recordings: Sequence[Recording], count: int) -> list[Recording]:
    """So many of them at most, from all over the list."""
    count = min(count, len(recordings))
    return [recordings[i * len(recordings) // count] for i in range(count)]


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON-lines file with their line numbers; ManifestError otherwise."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ManifestError(f"{path}: {reason}") from error
    # not splitlines(): JSON may hold U+2028 and its like as they are
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ManifestError(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(row, dict) or not isinstance(row.get("audio"), str):
            raise ManifestError(f"{path}:{number}: expected an object with an 'audio' path")
        yield number, row


def resolve_audio(manifest: Path, audio: str) -> Path:
    """The audio file that a manifest's line names, whether or not it exists."""
    beside = manifest.parent / audio
    above = manifest.parent.parent / audio
    return above if above.exists() and not beside.exists() else beside


def _recordings(path: Path) -> Iterator[Recording]:
    known = ("id", "audio", "text", "speaker", "seconds")
    for number, row in read_lines(path):
        text, seconds = row.get("text"), row.get("seconds")
        if not isinstance(text, str | None):
            raise ManifestError(f"{path}:{number}: 'text' must be a string")
        if not isinstance(seconds, int | float | None):
            raise ManifestError(f"{path}:{number}: 'seconds' must be a number")
        audio = resolve_audio(path, row["audio"])
        yield Recording(
            str(row.get("id", audio.stem)),
            audio,
            text,
            str(row.get("speaker", "")),
            None if seconds is None else float(seconds),
            {key: value for key, value in row.items() if key not in known},
        )
