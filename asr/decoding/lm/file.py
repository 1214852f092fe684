"""The file of a compact language model: named arrays behind a JSON header, memory-mapped.

::

    8 bytes   magic "ASRDNGLM"
    4 + 4     format version and length of the header, little-endian
    header    JSON: levels, crc32 of all that follows it, {array: [dtype, offset, length]}
    arrays    each at a multiple of 64 bytes behind the header

The arrays, for a model of V words (nodes and states as in `ngrams`):

- `words` the vocabulary as zlib-packed lines
- `last_words` the last word of each node above the unigrams, uint16 if V <= 65536
- `children` for each state but the root 0 (no children, no back-off) or 1 + the number of
  children; 255 stands for the next value of `many_children`
- `prob_codes` of each node but the root, `backoff_codes` of the states whose `children` > 0
- `prob_books`, `backoff_books` the 256 values of the codes, a row for each order
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError

from .ngrams import MAX_WORDS, SPECIAL, NGrams

MAGIC, VERSION, ALIGNMENT = b"ASRDNGLM", 1, 64
START = struct.Struct("<8sII")
MAX_HEADER = 1 << 16
MANY = 255
LEVELS = 256
"""Values of one code book."""

BAD = -70.0
"""Below it a log-probability means never; such outliers must not stretch the code book."""

LEAST_BACKOFF = -20.0
"""Lower back-offs are raised to it, for the same reason."""

DTYPES = {
    "words": "u1", "last_words": "<u2", "children": "u1", "many_children": "<u4",
    "prob_codes": "u1", "backoff_codes": "u1", "prob_books": "<f4", "backoff_books": "<f4",
}


@dataclass(frozen=True)
class Tables:
    """What the file holds."""

    levels: tuple[int, ...]
    arrays: Mapping[str, NDArray[Any]]

    def child_counts(self) -> NDArray[np.int64]:
        """(states - 1,) children of each state but the root."""
        counts = self.arrays["children"].astype(np.int64) - 1
        counts[counts == MANY - 1] = self.arrays["many_children"]
        return np.maximum(counts, 0)


def pack(model: NGrams) -> Tables:
    """Quantise a model: every log-probability within 1/254 of its order's range."""
    size, states = len(model.vocabulary), model.n_states
    counts = np.bincount(model.parents[1 + size :], minlength=states)[1:states]
    stored = (counts > 0) | (model.backoffs[1:] != 0)
    prob_codes = np.empty(model.levels[-1] - 1, np.uint8)
    backoff_codes = np.zeros(states - 1, np.uint8)
    prob_books = np.zeros((model.order, LEVELS), np.float32)
    backoff_books = np.zeros((model.order, LEVELS), np.float32)
    for k in range(model.order):
        level = slice(model.levels[k + 1], model.levels[k + 2])
        here = slice(level.start - 1, level.stop - 1)
        log_probs = model.log_probs[level]
        never = log_probs < BAD
        prob_codes[here], prob_books[k] = _quantise(log_probs, never)
        if k + 1 < model.order:
            backoffs = np.maximum(model.backoffs[level], LEAST_BACKOFF)
            # exactly 0 stays 0, so that contexts that change nothing can be recognised
            backoff_codes[here], backoff_books[k] = _quantise(backoffs, backoffs == 0)
    children = np.where(stored, np.minimum(1 + counts, MANY), 0).astype(np.uint8)
    words = "\n".join(model.vocabulary).encode()
    return Tables(
        model.levels,
        {
            "words": np.frombuffer(zlib.compress(words, 9), np.uint8),
            "last_words": model.words[1 + size :].astype("<u2" if size <= 1 << 16 else "<u4"),
            "children": children,
            "many_children": counts[children == MANY].astype("<u4"),
            "prob_codes": prob_codes,
            "backoff_codes": backoff_codes[stored],
            "prob_books": prob_books.ravel(),
            "backoff_books": backoff_books.ravel(),
        },
    )


def _quantise(
    values: NDArray[np.float64], apart: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Codes and code book: 0 for what is set apart, 255 even steps, each with its mean."""
    codes, book = np.zeros(len(values), np.uint8), np.zeros(LEVELS, np.float32)
    if apart.any():
        book[0] = values[apart].mean()
    rest = values[~apart]
    if len(rest):
        low, high = rest.min(), rest.max()
        steps = (rest - low) / max(high - low, 1e-9) * (LEVELS - 2)
        rest_codes = 1 + np.rint(steps).astype(np.int64)
        counts = np.bincount(rest_codes, minlength=LEVELS)
        means = np.bincount(rest_codes, rest, LEVELS) / np.maximum(counts, 1)
        book[1:] = means[1:]
        codes[~apart] = rest_codes
    return codes, book


def file_size(tables: Tables) -> int:
    """Bytes that `write` will write."""
    header, offsets = _layout(tables, 0)
    return START.size + len(header) + offsets


def write(tables: Tables, path: Path) -> None:
    """Write the file; it is complete or absent."""
    body = bytearray(_layout(tables, 0)[1])
    for (_, offset, _), array in zip(_places(tables).values(), tables.arrays.values(), strict=True):
        body[offset : offset + array.nbytes] = array.tobytes()
    header, _ = _layout(tables, zlib.crc32(body))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(START.pack(MAGIC, VERSION, len(header)) + header + bytes(body))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path) -> Tables:
    """Map and check a file. Raises LanguageModelError naming what is wrong."""
    try:
        return _read(path)
    except OSError as error:
        raise LanguageModelError(path, error.strerror or "cannot be read") from error
    except (KeyError, TypeError, ValueError) as error:
        raise LanguageModelError(path, f"damaged header ({error})") from error


def vocabulary_of(tables: Tables, path: Path) -> tuple[str, ...]:
    """The words by their ids."""
    try:
        words = zlib.decompress(tables.arrays["words"].tobytes()).decode().split("\n")
    except (zlib.error, UnicodeDecodeError) as error:
        raise LanguageModelError(path, "damaged vocabulary") from error
    size = tables.levels[2] - 1
    if len(words) != size or tuple(words[:3]) != SPECIAL or len(set(words)) != size:
        raise LanguageModelError(path, "its vocabulary does not fit its unigrams")
    return tuple(words)


def _read(path: Path) -> Tables:
    with path.open("rb") as file:
        start = file.read(START.size)
        if len(start) < START.size or start[:8] != MAGIC:
            raise LanguageModelError(path, "not a language model of asrd (use `asrd lm convert`)")
        _, version, length = START.unpack(start)
        if version != VERSION:
            reason = f"format version {version}, this asrd reads version {VERSION}"
            raise LanguageModelError(path, reason)
        text = file.read(min(length, MAX_HEADER))
        if len(text) != length:
            raise LanguageModelError(path, "truncated")
    header = json.loads(text)
    places = {name: (str(t), int(o), int(n)) for name, (t, o, n) in header["arrays"].items()}
    levels = tuple(map(int, header["levels"]))
    if len(levels) < 3:
        raise ValueError("no levels")
    raw = np.memmap(path, np.uint8, "r")
    body = np.asarray(raw)[START.size + length :]
    if len(body) != header["size"]:
        raise LanguageModelError(path, "truncated" if len(body) < header["size"] else "too long")
    if zlib.crc32(body.data) != header["crc32"]:
        raise LanguageModelError(path, "damaged: its checksum does not match")
    arrays = {}
    for name, (dtype, offset, count) in places.items():
        if name not in DTYPES or dtype not in (DTYPES[name], "<u4"):
            raise ValueError(f"array {name!r} of type {dtype!r}")
        if offset < 0 or count < 0 or offset + count * np.dtype(dtype).itemsize > len(body):
            raise ValueError(f"array {name!r} is outside the file")
        arrays[name] = np.frombuffer(body, dtype, count, offset)
    tables = Tables(levels, arrays)
    _check(path, tables)
    return tables


def _check(path: Path, tables: Tables) -> None:
    """Refuse tables that do not fit together, whatever wrote them."""
    levels, arrays = tables.levels, tables.arrays
    order, size = len(levels) - 2, levels[2] - 1
    lengths = {name: len(arrays[name]) for name in DTYPES}
    states = levels[-2]
    fits = (
        levels[:2] == (0, 1)
        and len(SPECIAL) <= size <= MAX_WORDS
        and list(levels) == sorted(levels)
        and lengths["last_words"] == levels[-1] - 1 - size
        and lengths["children"] == states - 1
        and lengths["many_children"] == np.count_nonzero(arrays["children"] == MANY)
        and lengths["backoff_codes"] == np.count_nonzero(arrays["children"])
        and lengths["prob_codes"] == levels[-1] - 1
        and lengths["prob_books"] == lengths["backoff_books"] == order * LEVELS
    )
    if not fits or tables.child_counts().sum() != levels[-1] - 1 - size:
        raise LanguageModelError(path, "damaged: its tables do not fit together")
    if len(arrays["last_words"]) and arrays["last_words"].max() >= size:
        raise LanguageModelError(path, "damaged: a word without a name")


def _places(tables: Tables) -> dict[str, tuple[str, int, int]]:
    """Type, offset and length of each array."""
    places, offset = {}, 0
    for name, array in tables.arrays.items():
        places[name] = (array.dtype.str.replace("|", ""), offset, len(array))
        offset += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    return places


def _layout(tables: Tables, crc: int) -> tuple[bytes, int]:
    """The header, padded so that the arrays are aligned, and the length of what follows."""
    places = _places(tables)
    size = sum(-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in tables.arrays.values())
    header = {"levels": tables.levels, "crc32": crc, "size": size, "arrays": places}
    text = json.dumps(header).encode()
    return text + b" " * (-(START.size + len(text)) % ALIGNMENT), size
