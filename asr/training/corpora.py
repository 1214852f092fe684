"""Readers for the layouts in which speech corpora come."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from asr.errors import ManifestError
from asr.manifest import Recording, read_manifest
from asr.text import normalise


def read_corpus(path: Path) -> list[Recording]:
    """Recordings of a manifest (.jsonl), a Common Voice list (.tsv) or a LibriSpeech folder.

    Raises ManifestError.
    """
    if path.is_dir():
        return read_librispeech(path)
    if path.suffix == ".tsv":
        return read_common_voice(path)
    return read_manifest(path)


def read_librispeech(folder: Path) -> list[Recording]:
    """`SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt` beside the audio, at any depth."""
    recordings = []
    for transcripts in sorted(folder.rglob("*.trans.txt")):
        for number, line in enumerate(transcripts.read_text(encoding="utf-8").splitlines(), 1):
            name, _, text = line.partition(" ")
            audio = next(
                (p for s in (".flac", ".wav", ".ogg", ".opus", ".mp3")
                 if (p := transcripts.with_name(name + s)).exists()),
                None,
            )
            if audio is None:
                raise ManifestError(f"{transcripts}:{number}: no audio file for {name!r}")
            speaker = "libri-" + name.split("-")[0]
            recordings.append(Recording(name, audio, normalise(text), speaker))
    if not recordings:
        raise ManifestError(f"{folder}: no *.trans.txt below this folder")
    return recordings


def read_common_voice(table: Path) -> list[Recording]:
    """A `train.tsv`, `validated.tsv`, ...; the audio lies in `clips/` beside it."""
    try:
        with table.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{table}: cannot be read: {error}") from error
    if not rows or not {"path", "sentence"} <= rows[0].keys():
        raise ManifestError(f"{table}: not a Common Voice list (no columns path and sentence)")
    return [
        Recording(
            Path(row["path"]).stem,
            table.parent / "clips" / row["path"],
            normalise(row["sentence"]),
            "cv-" + (row.get("client_id") or "unknown")[:12],
        )
        for row in rows
    ]


def keep_within(
    recordings: Iterable[Recording], minimum: dict[str, float]
) -> list[Recording]:
    """Those whose further keys reach the bounds; lines without a key stay."""
    return [
        r for r in recordings
        if all(key not in r.extra or r.extra[key] >= low for key, low in minimum.items())
    ]
