"""Keeps what was said, as audio with its text, in a folder that trainer and evaluation read."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import soundfile

from .events import Final
from .history import AudioHistory, Utterance

log = logging.getLogger(__name__)

MANIFEST = "manifest.jsonl"
MAX_WAITING = 8
"""Utterances that wait for the disk: up to 3 MB each."""
ROOM = 0.05
"""Share of the limit that is freed at once, since the manifest is written anew each time."""

_OUR_AUDIO = re.compile(r"\d{8}T\d{9}-.*\.flac")


class Recorder:
    """Writes utterances in a thread of its own; trouble with the disk harms nothing else."""

    def __init__(
        self, folder: Path, began: Callable[[str], float], *, max_mb: float = 500
    ) -> None:
        """Nothing is touched before the first utterance. `began` as for `JsonPublisher`."""
        self._folder = RecordingFolder(folder, round(max_mb * 1e6))
        self._began = began
        self._waiting: deque[tuple[Utterance, float]] = deque()
        self._changed = threading.Condition()
        self._closed = self._failing = False
        self._thread: threading.Thread | None = None
        self.kept = 0
        self.lost = 0
        """Utterances that could not be written, or not in time."""

    def history(self, longest: float) -> AudioHistory:
        """One for a new stream; `longest` as for `AudioHistory`."""
        return AudioHistory(longest, self.keep)

    def keep(self, utterance: Utterance) -> None:
        """Hand over an utterance; never blocks. Where too many wait, the oldest is lost."""
        time = self._began(utterance.final.stream) + utterance.final.start
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                self._waiting.popleft()
                self.lost += 1
            self._waiting.append((utterance, time))
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
            self._thread.start()

    async def aclose(self, seconds: float = 1.0) -> None:
        """Write what waits, for so long at most."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                utterance, time = self._waiting.popleft()
            self._write(utterance, time)

    def _write(self, utterance: Utterance, time: float) -> None:
        try:
            self._folder.add(utterance, time)
        except Exception as error:  # the thread's boundary
            self.lost += 1
            if not self._failing:  # a full disk stays full for long: told once
                reason = error.strerror if isinstance(error, OSError) else None
                log.error("%s: cannot keep audio: %s", self._folder.path, reason or error)
            self._failing = True
        else:
            self.kept += 1
            self._failing = False


class RecordingFolder:
    """FLAC files and their manifest, together never larger than a limit. For one thread."""

    def __init__(self, path: Path, limit: int) -> None:
        """`limit` in bytes."""
        self.path, self._limit = path, limit
        self._manifest = path / MANIFEST
        self._sizes: dict[str, int] | None = None
        """Of audio files, the oldest first; None before the folder was looked at."""

    def add(self, utterance: Utterance, time: float) -> None:
        """Write an utterance of `time` (Unix) and its line; OSError leaves none of it behind."""
        sizes = self._sizes = self._open() if self._sizes is None else self._sizes
        memory = io.BytesIO()  # libsndfile hides the errors of a disk
        soundfile.write(memory, utterance.samples, utterance.sample_rate, format="FLAC")
        encoded = memory.getvalue()
        name = self._name(utterance.final, time)
        line = json.dumps(_row(name, utterance, time), ensure_ascii=False) + "\n"
        self._make_room(sizes, len(encoded) + len(line.encode()))
        path = self.path / name
        try:
            _replace(path, encoded)
            _append(self._manifest, line.encode())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        sizes[name] = len(encoded)

    def _open(self) -> dict[str, int]:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for unfinished in (*self.path.glob("*.flac.part"), *self.path.glob(f"{MANIFEST}.part")):
            unfinished.unlink(missing_ok=True)
        self._mend()
        ours = (path for path in self.path.iterdir() if _OUR_AUDIO.fullmatch(path.name))
        return {path.name: path.stat().st_size for path in sorted(ours)}

    def _mend(self) -> None:
        """Drop the line that a crash has torn; a whole one without an end is an editor's."""
        whole, newline, last = self._read().rpartition(b"\n")
        if last and _is_json(last):
            _append(self._manifest, b"\n")
        elif last:
            _replace(self._manifest, whole + newline)

    def _make_room(self, sizes: dict[str, int], needed: int) -> None:
        if needed > self._limit:
            raise OSError(errno.EFBIG, "an utterance is larger than max_mb")
        total = sum(sizes.values()) + len(self._read())
        if total + needed <= self._limit:
            return
        goal = self._limit * (1 - ROOM) - needed
        doomed: set[str] = set()
        for name, size in sizes.items():
            if total <= goal:
                break
            doomed.add(name)
            total -= size
        self._forget(doomed)
        for name in doomed:
            (self.path / name).unlink(missing_ok=True)
            del sizes[name]

    def _forget(self, names: Collection[str]) -> None:
        """Take files out of the manifest; what else people have put there stays."""
        lines = self._read().splitlines(keepends=True)
        kept = [line for line in lines if _audio_of(line) not in names]
        _replace(self._manifest, b"".join(kept))

    def _read(self) -> bytes:
        try:
            return self._manifest.read_bytes()
        except FileNotFoundError:
            return b""

    def _name(self, final: Final, time: float) -> str:
        stream = re.sub(r"[^A-Za-z0-9]+", "-", final.stream).strip("-")[:32]
        moment = datetime.fromtimestamp(time, UTC)
        stem = f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03}-{stream}"
        name, count = f"{stem}.flac", 1
        while (self.path / name).exists():
            count += 1
            name = f"{stem}-{count}.flac"
        return name


def _row(name: str, utterance: Utterance, time: float) -> dict[str, Any]:
    final = utterance.final
    row: dict[str, Any] = {
        "audio": name,
        "text": final.text,
        "seconds": round(len(utterance.samples) / utterance.sample_rate, 3),
        "time": round(time, 3),
        "confidence": round(final.confidence, 4),
    }
    if final.understood is not None:
        row["understood"] = final.understood
    if (command := final.interpretation) is not None:
        row["intent"] = command.intent
        # as labels of a corpus are: in the words that were spoken
        row["slots"] = {slot.name: slot.text for slot in command.slots if slot.text}
    return row


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _audio_of(line: bytes) -> str | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row.get("audio") if isinstance(row, dict) else None


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write_all(file, data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


def _append(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    size = os.fstat(file).st_size
    try:
        _write_all(file, data)
    except OSError:
        os.ftruncate(file, size)
        raise
    finally:
        os.close(file)


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
