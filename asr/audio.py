"""Read audio block by block: files through libsndfile or ffmpeg, raw PCM from a pipe.

Whatever the origin, audio comes as blocks of float32 samples shaped (count, channels) at
the origin's own rate. No reader holds more than one block, so that an hour needs no more
memory than a minute.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from .errors import AudioFileError
from .ffmpeg import find_ffmpeg, run_ffmpeg

Samples = NDArray[np.float32]

BLOCK_SECONDS = 1.0
"""Duration of one block of a file."""

AUDIO_SUFFIXES = frozenset(
    {
        *{".wav", ".wave", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".au", ".snd"},
        *{".aif", ".aifc", ".aiff", ".caf", ".aac", ".amr", ".m4a", ".m4b", ".mka", ".wma"},
        *{".3gp", ".avi", ".mkv", ".mov", ".mp4", ".webm"},
    }
)
"""What a directory is searched for; a file named outright may have any suffix."""

_ENDLESS = 1 << 62
"""libsndfile gives a length near 2**63 where a header (FLAC from a pipe) has none."""

_STREAMED_SIZE = 0x7FFF_F000
"""Writers that cannot seek back put a size near 2**31 or 2**32 into the header."""

_HEADER_SIZE = re.compile(r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)")
"""How libsndfile logs a WAV, AIFF or AU header that promises more bytes than there are."""

_MP3_SLACK_SECONDS = 0.1
"""An MP3 header counts whole frames and encoder padding, so its length is not exact."""


@dataclass(frozen=True)
class AudioReader:
    """Audio that has been opened: its format and an iterator of its blocks."""

    sample_rate: int
    channels: int
    seconds: float | None
    """Duration where the header tells it."""
    blocks: Iterator[Samples]
    """Blocks shaped (count, channels), count > 0.

    Raises AudioFileError at the place where the file is damaged, or at the end of one that
    is shorter than its header says: all that could be read has been given out by then.
    """


class PcmConverter:
    """Turn packets of 16-bit little-endian PCM into float samples, whatever their lengths.

    Bytes of an incomplete sample are carried into the next packet; what is left over when
    the stream ends was never a sample and is lost with the converter.
    """

    def __init__(self, channels: int = 1) -> None:
        self._width = 2 * channels
        self._channels = channels
        self._rest = b""

    def push(self, data: bytes) -> Samples:
        """Take bytes, return the completed samples in [-1, 1), shaped (count, channels)."""
        data = self._rest + data
        whole = len(data) - len(data) % self._width
        self._rest = data[whole:]
        pcm = np.frombuffer(data, "<i2", count=whole // 2).astype(np.float32)
        return (pcm / np.float32(32768)).reshape(-1, self._channels)


def read_pcm(
    stream: BinaryIO, sample_rate: int, channels: int = 1, block_seconds: float = BLOCK_SECONDS
) -> AudioReader:
    """Raw s16le PCM from a pipe; a block is what has arrived, at most `block_seconds`."""
    size = max(1, round(block_seconds * sample_rate)) * 2 * channels
    # A buffered stream's read() waits for a full block: read1() keeps live audio live.
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    converter = PcmConverter(channels)

    def blocks() -> Iterator[Samples]:
        while data := read(size):
            samples = converter.push(data)
            if len(samples):
                yield samples

    return AudioReader(sample_rate, channels, None, blocks())


@contextmanager
def open_audio(path: Path, block_seconds: float = BLOCK_SECONDS) -> Iterator[AudioReader]:
    """Open a file for reading in blocks; it is closed when the context is left.

    WAV, FLAC, Ogg, Opus, MP3, AIFF and other formats of libsndfile, then whatever an
    `ffmpeg` on the search path can decode. A file without samples has no blocks. Raises
    AudioFileError for a file that is missing, unreadable, empty or no audio.
    """
    head = _read_head(path)
    # libmpg123 writes its complaints straight to file descriptor 2
    is_mp3 = path.suffix.lower() == ".mp3" or head.startswith((b"ID3", b"\xff\xfb"))
    quiet = _native_stderr_silenced if is_mp3 else nullcontext
    try:
        with quiet():
            file = soundfile.SoundFile(os.fsencode(path))
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless by its suffix
        cause = getattr(error, "error_string", "no header").rstrip(".")
    else:
        with file:
            # soundfile seeks after every read, which fails in a file of unknown length
            if file.frames < _ENDLESS:
                seconds = file.frames / file.samplerate
                blocks = _sound_blocks(path, file, block_seconds, quiet)
                yield AudioReader(file.samplerate, file.channels, seconds, blocks)
                return
            cause = "its header gives no length"
    if find_ffmpeg() is None:
        reason = f"not a supported audio file ({cause}), and there is no ffmpeg to try"
        raise AudioFileError(path, reason)
    with run_ffmpeg(path, block_seconds) as (sample_rate, channels, blocks):
        yield AudioReader(sample_rate, channels, None, blocks)


def find_audio(folder: Path) -> list[Path]:
    """Audio files below a folder, sorted, told by their suffix; hidden ones are left out.

    Symbolic links to folders are not followed. Raises AudioFileError for a folder that
    cannot be read or holds no audio.
    """

    def refuse(error: OSError) -> None:
        raise AudioFileError(error.filename or folder, error.strerror or str(error)) from error

    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(parent, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in AUDIO_SUFFIXES]
    if not found:
        raise AudioFileError(folder, "no audio files in this directory")
    return sorted(found)


def _read_head(path: Path) -> bytes:
    """The first bytes; AudioFileError where there is nothing to read."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # opening a named pipe would wait for its writer
            kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
            raise AudioFileError(path, kind)
        with path.open("rb") as file:
            head = file.read(16)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioFileError(path, reason.lower()) from error
    if not head:
        raise AudioFileError(path, "empty file")
    return head


def _sound_blocks(
    path: Path,
    file: soundfile.SoundFile,
    block_seconds: float,
    quiet: Callable[[], AbstractContextManager[None]],
) -> Iterator[Samples]:
    count, read = max(1, round(block_seconds * file.samplerate)), 0
    while True:
        try:
            with quiet():
                block: Samples = file.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioFileError(path, _shortfall(file, read)) from error
        if not len(block):
            break
        read += len(block)
        yield block
    slack = _MP3_SLACK_SECONDS * file.samplerate if file.format == "MP3" else 0
    if file.frames - read > slack:
        raise AudioFileError(path, _shortfall(file, read))
    if defect := _header_defect(path, file):
        raise AudioFileError(path, defect)


def _shortfall(file: soundfile.SoundFile, read: int) -> str:
    rate = file.samplerate
    return f"truncated or damaged: {read / rate:.2f} of {file.frames / rate:.2f} s could be read"


def _header_defect(path: Path, file: soundfile.SoundFile) -> str | None:
    """What is wrong with a file from which libsndfile has quietly read less than promised."""
    if file.format == "OGG" and not _ogg_is_complete(path):
        return f"truncated: its stream does not end after {file.frames / file.samplerate:.2f} s"
    for promised, actual in _HEADER_SIZE.findall(file.extra_info):
        if int(actual) < int(promised) < _STREAMED_SIZE:
            return f"truncated: {actual} of {promised} bytes of audio are there"
    if file.format.startswith("WAV") and not file.frames:
        size = path.stat().st_size
        if size > 4096:  # more than any header: a recorder died before it wrote the length
            return f"its header promises no audio, yet the file has {size} bytes"
    return None


def _ogg_is_complete(path: Path) -> bool:
    """Whether the last Ogg page is whole and flagged as the end of its stream (RFC 3533)."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65_307))  # the longest page
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


@contextmanager
def _native_stderr_silenced() -> Iterator[None]:
    """Send to nowhere what C code writes to stderr; process-wide, so only for moments."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
