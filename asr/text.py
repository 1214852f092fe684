"""Written text as the recogniser knows it: its one normal form, and files of sentences."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from .errors import TextError
from .manifest import read_manifest

GZIP_MAGIC = b"\x1f\x8b"


def normalise(text: str) -> str:
    """Lower case letters, apostrophes inside words, single spaces. Digits are not spelled."""
    text = text.lower().replace("\u2019", "'")
    text = re.sub(r"[^a-z' ]+", " ", text)
    return " ".join(re.sub(r"(?<![a-z])'|'(?![a-z])", " ", text).split())


def read_sentences(path: Path) -> Iterator[str]:
    """The normalised sentences of a text (plain or gzip, one a line) or a manifest (.jsonl).

    Empty ones are left out. Raises TextError naming file and line, and ManifestError.
    """
    lines: Iterator[str]
    if path.suffix == ".jsonl":
        lines = (recording.text or "" for recording in read_manifest(path))
    else:
        lines = (line for _, line in read_lines(path))
    return filter(None, map(normalise, lines))


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file, plain or gzip, with their numbers; TextError otherwise."""
    number = 0
    try:
        with path.open("rb") as file:
            # the content decides, not the name
            packed = file.peek(2)[:2] == GZIP_MAGIC
            lines = gzip.GzipFile(fileobj=file) if packed else file
            for number, line in enumerate(lines, 1):
                yield number, line.decode()
    except UnicodeDecodeError as error:
        raise TextError(path, "is not UTF-8 text", number) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TextError(path, f"damaged gzip file: {error}", number + 1) from error
    except OSError as error:
        raise TextError(path, error.strerror or "cannot be read") from error
