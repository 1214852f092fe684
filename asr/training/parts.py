"""Many files as a few archives below a size, and back.

A folder of parts holds `index.json` and `part-00.tar`, `part-01.tar`, ...; files larger than a
part lie in pieces. Parts may arrive one at a time and in any order: `receive` takes those that
are there and says which are still missing.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, BinaryIO

from asr import schema
from asr.errors import ConfigError, PackError

INDEX = "index.json"
RECORD = ".received.json"
VERSION = 1
MEGABYTE = 1_000_000
SMALLEST = 100_000
"""Bytes that a part holds at least; less would be nothing but headers."""
_BLOCK = 1 << 20
_MAX_INDEX_BYTES = 10 * MEGABYTE


@dataclass(frozen=True)
class Part:
    """One archive."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Split:
    """A file that lies in `pieces` pieces, called NAME.piece-000 and so on."""

    name: str
    pieces: int
    sha256: str

    def piece(self, i: int) -> str:
        """Name of piece i."""
        return f"{self.name}.piece-{i:03}"


@dataclass(frozen=True)
class Index:
    """What a folder of parts should hold."""

    version: int
    parts: tuple[Part, ...]
    split: tuple[Split, ...] = ()


@dataclass(frozen=True)
class Received:
    """How far a target folder is."""

    parts: int
    missing: tuple[str, ...]
    """Names of parts that have not been there yet."""

    @property
    def complete(self) -> bool:
        """Whether the target holds every file."""
        return not self.missing


class PartWriter:
    """Writes files into parts of at most `limit` bytes; the index comes with a clean end."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Raises PackError for a folder with other contents, ConfigError for a tiny limit."""
        if limit < SMALLEST:
            raise ConfigError(f"parts of {limit} bytes are too small: at least {SMALLEST}")
        self.folder, self.limit = folder, limit
        self._parts: list[Part] = []
        self._split: list[Split] = []
        self._names: set[str] = set()
        self._archive: tarfile.TarFile | None = None

    def __enter__(self) -> PartWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            ours = path.name == INDEX or path.match("part-*.tar")
            if not ours:
                raise PackError(self.folder, f"holds {path.name}: choose an empty folder")
        for path in self.folder.iterdir():
            path.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
        if kind is None:
            index = Index(VERSION, tuple(self._parts), tuple(self._split))
            text = json.dumps(schema.as_table(index), indent=1) + "\n"
            (self.folder / INDEX).write_text(text, encoding="utf-8")

    @property
    def parts(self) -> int:
        """Parts begun so far."""
        return len(self._parts) + (self._archive is not None)

    def add(self, name: str, content: Path | bytes) -> None:
        """Add a file under a relative name. Raises PackError if it cannot be read."""
        if name in self._names:
            raise PackError(name, "packed twice")
        self._names.add(name)
        if isinstance(content, bytes):
            self._add_stream(name, io.BytesIO(content), len(content))
            return
        try:
            with content.open("rb") as file:
                self._add_stream(name, file, content.stat().st_size)
        except OSError as error:
            raise PackError(content, error.strerror or "cannot be read") from error

    def _add_stream(self, name: str, file: BinaryIO, size: int) -> None:
        if self._space(name) < size:
            self._close()
        if self._space(name) >= size:
            self._write(name, file, size)
            return
        split = Split(name, 0, "")
        digest = hashlib.sha256()
        pieces = 0
        while size:
            piece = split.piece(pieces)
            count = min(size, self._space(piece))
            if count < min(size, _BLOCK // 16):
                self._close()
                continue
            data = file.read(count)
            digest.update(data)
            self._write(piece, io.BytesIO(data), count)
            size -= count
            pieces += 1
        self._split.append(Split(name, pieces, digest.hexdigest()))

    def _write(self, name: str, file: BinaryIO, size: int) -> None:
        if self._archive is None:
            path = self.folder / f"part-{len(self._parts):02}.tar"
            self._archive = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._archive.addfile(_header(name, size), file)

    def _space(self, name: str) -> int:
        """Bytes that a file of this name may have to go into the current part."""
        used = self._archive.offset if self._archive is not None else 0
        records = self.limit // tarfile.RECORDSIZE * tarfile.RECORDSIZE
        header = len(_header(name, 1 << 33).tobuf(tarfile.PAX_FORMAT))
        free = records - used - header - 2 * tarfile.BLOCKSIZE  # the end of an archive
        return max(0, free // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE)

    def _close(self) -> None:
        if self._archive is not None:
            path = Path(str(self._archive.name))
            self._archive.close()
            self._archive = None
            self._parts.append(Part(path.name, path.stat().st_size, sha256(path)))


def _header(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info  # no time, no owner: the same files give the same bytes


def sha256(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def receive(source: Path, target: Path) -> Received:
    """Unpack the parts that lie in `source` into `target`, once each.

    What was unpacked before is not touched again, so that files may be changed there. Raises
    PackError for a damaged index or part; nothing of a damaged part is unpacked.
    """
    index, stamp = _read_index(source)
    done = _read_record(target, stamp)
    for part in index.parts:
        path = source / part.name
        if part.name in done or not path.is_file():
            continue
        if path.stat().st_size != part.size or sha256(path) != part.sha256:
            raise PackError(path, "differs from what was packed: copy it again")
        _extract(path, target)
        done.add(part.name)
        _write_record(target, stamp, done)
    missing = tuple(part.name for part in index.parts if part.name not in done)
    if not missing:
        for split in index.split:
            _join(split, target)
    return Received(len(index.parts), missing)


def _extract(path: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if not member.isreg() or PurePosixPath(member.name).is_absolute():
                    raise PackError(path, f"refused: {member.name!r} is no file of this part")
                archive.extract(member, target, filter="data")
    except tarfile.FilterError as error:
        raise PackError(path, f"refused: {error}") from error
    except tarfile.TarError as error:
        raise PackError(path, f"no archive: {error}") from error


def _join(split: Split, target: Path) -> None:
    """Make the whole of the pieces; a join that was cut off starts again."""
    pieces = [target / split.piece(i) for i in range(split.pieces)]
    if not all(piece.is_file() for piece in pieces):
        return  # joined before
    whole = target / split.name
    part = whole.with_name(whole.name + ".part")
    with part.open("wb") as out:
        for block in _blocks(pieces):
            out.write(block)
    if sha256(part) != split.sha256:
        part.unlink()
        raise PackError(whole, "its pieces do not fit together: unpack into an empty folder")
    part.replace(whole)
    for piece in pieces:
        piece.unlink()


def _blocks(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block


def _read_index(folder: Path) -> tuple[Index, str]:
    path = folder / INDEX
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_INDEX_BYTES)
        table: dict[str, Any] = json.loads(data)
        index = schema.build(Index, table)
    except FileNotFoundError as error:
        raise PackError(folder, f"no {INDEX}: copy it beside the parts") from error
    except OSError as error:
        raise PackError(path, error.strerror or "cannot be read") from error
    except (ValueError, TypeError, ConfigError) as error:
        raise PackError(path, f"no index of parts: {error}") from error
    if index.version != VERSION:
        raise PackError(path, f"version {index.version} is unknown, expected {VERSION}")
    for name in (part.name for part in index.parts):
        if len(PurePosixPath(name).parts) != 1 or name == "..":
            raise PackError(path, f"refused: {name!r} is no file of this folder")
    for name in (split.name for split in index.split):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise PackError(path, f"refused: {name!r} lies outside of the target")
    return index, hashlib.sha256(data).hexdigest()


def _read_record(target: Path, stamp: str) -> set[str]:
    """Parts of this index that are in `target` already; none if it held another's."""
    try:
        record = json.loads((target / RECORD).read_text(encoding="utf-8"))
        return set(map(str, record["parts"])) if record["index"] == stamp else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _write_record(target: Path, stamp: str, done: set[str]) -> None:
    path = target / RECORD
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps({"index": stamp, "parts": sorted(done)}), encoding="utf-8")
    part.replace(path)
