"""`asrd transcribe`: recordings or raw PCM in, text, JSON or subtitles out."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from service.arguments import positive_int
from service.errors import UsageError
from service.formats import FORMATS, LINE_FORMATS, printable
from service.recognition import FILE_CHUNK_SECONDS, add_arguments, open_recognizer

if TYPE_CHECKING:
    from asr.audio import AudioReader
    from asr.errors import AsrError
    from service.offline import BlockSource

DESCRIPTION = """\
Transcribe recordings. WAV, FLAC, Ogg, Opus, MP3 and more are read directly, other
containers through ffmpeg where it is installed; directories are searched for audio;
"-" is raw 16-bit little-endian PCM on standard input. Standard output gets one line a
file. A file that cannot be read is named on standard error, the others are transcribed,
and the exit status is 1.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "transcribe", help="transcribe audio files or standard input", description=DESCRIPTION
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="audio file, directory, or - for raw PCM")
    add_arguments(parser)
    add("--format", choices=FORMATS, default="text", help="default: text")
    add("--output", type=Path, metavar="DIR", help="write one file for each into this directory")
    add("--numbers", action="store_true", help="write spoken numbers as digits")
    add("--partials", action="store_true", help="show unfinished transcripts on standard error")
    add("--rate", type=positive_int, default=16_000, metavar="HZ", help="of raw PCM (16000)")
    add("--channels", type=positive_int, default=1, metavar="N", help="of raw PCM (1)")
    add("--streams", type=positive_int, metavar="N", help="files at once (default: 8)")
    add("--threads", type=positive_int, default=1, metavar="N", help="CPU threads (default: 1)")


def run(args: argparse.Namespace) -> int:
    """Transcribe; 1 if any file could not be read to its end, else 0."""
    from service.console import Console
    from service.numbers import number_writer
    from service.offline import DEFAULT_STREAMS, transcribe_sources

    jobs = _jobs(args)
    suffix, render = FORMATS[args.format]
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        _name_outputs(jobs, suffix)
    elif len(jobs) > 1 and args.format not in LINE_FORMATS:
        raise UsageError(f"{args.format} of several files needs --output DIR")
    rewrite = number_writer() if args.numbers else None
    chunk_seconds = None if args.partials else FILE_CHUNK_SECONDS
    recognizer = open_recognizer(args, chunk_seconds=chunk_seconds)
    failed = False
    with Console(len(jobs), partials=args.partials) as console:
        # several live transcripts on one terminal line would only flicker
        one_by_one = args.partials and sys.stderr.isatty()
        results = transcribe_sources(
            recognizer,
            [job.source for job in jobs],
            streams=args.streams or (1 if one_by_one else DEFAULT_STREAMS),
            on_event=console.event if args.partials else None,
            on_progress=console.progress,
            rewrite=rewrite,
        )
        for job, result in zip(jobs, results, strict=True):
            if result.reason is not None:
                failed = True
                console.error(result.name, result.reason)
                if not result.text:
                    continue
            text = render(result)
            if args.output is not None:
                _write(args.output / job.output, text)
            elif args.format == "text" and len(jobs) > 1:
                console.result(f"{printable(result.name)}: {text}")
            else:
                console.result(text)
    return int(failed)


@dataclass
class _Job:
    source: BlockSource
    output: Path
    """Where the transcript goes, below the output directory."""


@dataclass(frozen=True)
class _FailedSource:
    """Stands for an argument that is no source, so that it is reported in its turn."""

    name: str
    error: AsrError

    def open(self) -> AbstractContextManager[AudioReader]:
        raise self.error


def _jobs(args: argparse.Namespace) -> list[_Job]:
    """What the arguments stand for, directories searched. UsageError for what makes no sense."""
    from asr.audio import find_audio
    from asr.errors import AudioError
    from asr.resample import MAX_RATE, MIN_RATE
    from asr.streaming import MAX_CHANNELS
    from service.offline import FileSource, PcmSource

    if args.files.count("-") > 1:
        raise UsageError("standard input (-) can be read only once")
    if not MIN_RATE <= args.rate <= MAX_RATE:
        raise UsageError(f"--rate {args.rate} is outside {MIN_RATE} to {MAX_RATE} Hz")
    if args.channels > MAX_CHANNELS:
        raise UsageError(f"--channels {args.channels} is above {MAX_CHANNELS}")
    jobs: list[_Job] = []
    for argument in args.files:
        path = Path(argument)
        if argument == "-":
            source = PcmSource(sys.stdin.buffer, args.rate, args.channels)
            jobs.append(_Job(source, Path("stdin")))
        elif _is_directory(path):
            try:
                found = find_audio(path)
            except AudioError as error:
                jobs.append(_Job(_FailedSource(argument, error), Path()))
            else:
                jobs += [_Job(FileSource(file), file.relative_to(path)) for file in found]
        else:
            jobs.append(_Job(FileSource(path), Path(path.name)))
    return jobs


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that cannot be looked up fails when it is opened
        return False


def _name_outputs(jobs: list[_Job], suffix: str) -> None:
    """Give every job a name of its own: the recording's stem, numbered where it is taken.

    What was found in a directory keeps its place below it.
    """
    taken: set[Path] = set()
    for job in jobs:
        if not job.output.name:  # a directory without audio writes nothing
            continue
        stem, number = job.output.with_suffix(""), 1
        job.output = stem.with_name(stem.name + suffix)
        while job.output in taken:
            number += 1
            job.output = stem.with_name(f"{stem.name}-{number}{suffix}")
        taken.add(job.output)


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # backslashes make a file name that is no text a valid escape, also in JSON
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
