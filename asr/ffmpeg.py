"""Decode audio of any container through an ffmpeg process, block by block."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .errors import AudioFileError

_HEADER = struct.Struct(">4s5I")
"""Head of an AU file: magic, offset of the data, size, encoding, rate, channels."""

_DAMAGE = re.compile("prematurely|partial file|truncat|Error while decoding|Invalid data")
"""Complaints that ffmpeg may end with exit status 0 in spite of."""


def find_ffmpeg() -> str | None:
    """The ffmpeg on the search path, or None."""
    return shutil.which("ffmpeg")


@contextmanager
def run_ffmpeg(
    path: Path, block_seconds: float
) -> Iterator[tuple[int, int, Iterator[NDArray[np.float32]]]]:
    """Decode the first audio stream: (sample rate, channels, blocks (count, channels)).

    Raises AudioFileError where ffmpeg finds no audio, at once or, after the last good
    block, while iterating. The process is gone when the context is left.
    """
    program = find_ffmpeg()
    if program is None:
        raise AudioFileError(path, "there is no ffmpeg to read it with")
    # "file:" keeps a name with a leading dash or a colon a name; the whitelist keeps a
    # playlist from fetching anything. AU is the plainest container that can be piped.
    command = [
        *(program, "-nostdin", "-hide_banner", "-loglevel", "error"),
        *("-protocol_whitelist", "file,pipe", "-i", f"file:{path}"),
        *("-vn", "-sn", "-dn", "-f", "au", "-c:a", "pcm_f32be", "pipe:1"),
    ]
    # stderr goes to a file: a pipe that nobody reads would block ffmpeg once it is full
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdout is not None
        try:
            header = process.stdout.read(_HEADER.size)
            if len(header) < _HEADER.size:
                process.wait()
                raise AudioFileError(path, f"not a supported audio file ({_complaint(log)[1]})")
            _, offset, _, _, sample_rate, channels = _HEADER.unpack(header)
            process.stdout.read(offset - _HEADER.size)
            count = max(1, round(block_seconds * sample_rate))
            yield sample_rate, channels, _blocks(path, process, log, count, channels)
        finally:
            process.kill()


def _blocks(
    path: Path, process: subprocess.Popen[bytes], log: IO[bytes], count: int, channels: int
) -> Iterator[NDArray[np.float32]]:
    assert process.stdout is not None
    pipe: BinaryIO = process.stdout  # type: ignore[assignment]
    while data := pipe.read(count * channels * 4):
        whole = len(data) // (channels * 4) * channels
        samples = np.frombuffer(data, ">f4", count=whole).astype(np.float32)
        yield samples.reshape(-1, channels)
    failed = process.wait() != 0
    damaged, line = _complaint(log)
    if failed or damaged:
        raise AudioFileError(path, f"truncated or damaged ({line})")


def _complaint(log: IO[bytes]) -> tuple[bool, str]:
    """Whether ffmpeg's messages tell of damage, and the last of them without its prefixes."""
    log.seek(0, 2)
    log.seek(max(0, log.tell() - 4096))
    text = log.read().decode("utf-8", "replace")
    lines = [re.sub(r"^\[.*?\] |^file:.*: ", "", line) for line in text.splitlines()]
    if "does not contain any stream" in text:
        return True, "it has no audio track"
    return bool(_DAMAGE.search(text)), lines[-1].strip() if lines else "ffmpeg says nothing"
