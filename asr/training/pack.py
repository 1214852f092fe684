"""A training run in parts that can be carried to another machine: data, settings, weights.

What a run would read is copied as it lies on the disk, never encoded again, and the settings
name the copies. In the folder that the parts are unpacked into, `asrd train train.toml` makes
the same batches as here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from asr.errors import AudioFileError, ConfigError
from asr.manifest import Recording
from asr.vocabulary import Vocabulary

from . import checkpoint
from .config import TrainConfig, as_toml, expand
from .parts import PartWriter
from .pieces import read_pieces
from .rooms import responses_file, room_responses
from .selection import Selected, encode_texts, noise_files, select
from .teacher import STATES_FILES, TeacherStates
from .trainer import LAST

CONFIG, OUTPUT, CACHE, START, TEACHER = "train.toml", "run", "cache", "start", "teacher"
PIECES = "pieces.txt"


def pack_run(config: TrainConfig, folder: Path, limit: int, start: Path | None = None) -> int:
    """Write the parts of a run into `folder`, each of at most `limit` bytes; returns how many.

    `start` is a checkpoint of this run that training is to go on from. Raises AsrError for
    data that the trainer would refuse.
    """
    data, seed = config.data, config.run.seed
    train = select(data.train, data, limit_hours=data.limit_hours, seed=seed)
    dev = select(data.dev, data, limit=data.dev_utterances) if data.dev else []
    encode_texts([c.recording for c in train + dev], Vocabulary.letters())
    if data.pieces:
        read_pieces(expand(data.pieces))
    if data.teacher:
        TeacherStates.open(expand(data.teacher), [c.recording.audio for c in train])
    if start is not None:
        checkpoint.load(start)
    with PartWriter(folder, limit) as writer:
        audio = _Audio(writer)
        data = replace(
            data,
            train=_add_sources(writer, audio, "train", train),
            dev=_add_sources(writer, audio, "dev", dev),
            noise=_add_noise(writer, audio, config),
            noise_exclude="",
            repeat=_repeats(train),
            limit_hours=None,
            teacher=TEACHER if data.teacher else "",
            pieces=PIECES if data.pieces else "",
            cache=CACHE,
        )
        if config.data.teacher:
            for name in STATES_FILES:
                writer.add(f"{TEACHER}/{name}", expand(config.data.teacher) / name)
        if config.data.pieces:
            writer.add(PIECES, expand(config.data.pieces))
        if config.augment.rooms:
            _add_rooms(writer, config)
        run = replace(config.run, output=OUTPUT, device="auto", threads=0, start_from="")
        if start is not None:
            writer.add(f"{OUTPUT}/{LAST}", start)
        elif config.run.start_from:
            _add_bundle(writer, expand(config.run.start_from))
            run = replace(run, start_from=START)
        packed = replace(config, data=data, run=run)
        writer.add(CONFIG, as_toml(packed).encode())
        return writer.parts


def pack_checkpoint(path: Path, folder: Path, limit: int) -> int:
    """Write a checkpoint into `folder` in parts of at most `limit` bytes; returns how many."""
    checkpoint.load(path)
    with PartWriter(folder, limit) as writer:
        writer.add(path.name, path)
        return writer.parts


class _Audio:
    """Copies each recording once, under a name that no other has."""

    def __init__(self, writer: PartWriter) -> None:
        self._writer = writer
        self._names: dict[Path, str] = {}
        self._taken: set[str] = set()

    def add(self, path: Path, folder: str) -> str:
        """The relative name of a copy of `path`; the file itself keeps its name."""
        if path not in self._names:
            if not path.is_file():
                raise AudioFileError(path, "no such file")
            name = f"{folder}/{path.name}"
            if name in self._taken:
                name = f"{folder}/{len(self._taken)}/{path.name}"
            self._taken.add(name)
            self._names[path] = name
            self._writer.add(name, path)
        return self._names[path]


def _source_name(kind: str, number: int) -> str:
    return f"{kind}-{number:03}.jsonl"


def _add_sources(
    writer: PartWriter, audio: _Audio, kind: str, chosen: Sequence[Selected]
) -> tuple[str, ...]:
    """Recordings and a manifest for each source; returns the manifests' names."""
    lines: dict[str, list[str]] = {}
    for item in chosen:
        name = _source_name(kind, item.source)
        recording = item.recording
        copy = audio.add(recording.audio, f"audio/{PurePosixPath(name).stem}")
        lines.setdefault(name, []).append(json.dumps(_row(recording, copy)) + "\n")
    for name, rows in lines.items():
        writer.add(name, "".join(rows).encode())
    return tuple(lines)


def _row(recording: Recording, audio: str) -> dict[str, object]:
    row = {
        "id": recording.id, "audio": audio, "text": recording.text,
        "speaker": recording.speaker, "seconds": recording.seconds,
    }  # fmt: skip
    return {k: v for k, v in row.items() if v is not None} | dict(recording.extra)


def _repeats(chosen: Sequence[Selected]) -> dict[str, int]:
    return {_source_name("train", c.source): c.repeat for c in chosen if c.repeat != 1}


def _add_noise(writer: PartWriter, audio: _Audio, config: TrainConfig) -> tuple[str, ...]:
    if not config.augment.noise or not config.data.noise:
        return ()
    rows = [
        json.dumps({"audio": audio.add(path, "audio/noise"), "kind": kind}) + "\n"
        for path, kind in noise_files(config.data)
    ]
    name = _source_name("noise", 0)
    writer.add(name, "".join(rows).encode())
    return (name,)


def _add_rooms(writer: PartWriter, config: TrainConfig) -> None:
    """Simulated rooms, so that no simulation is needed where the training runs."""
    augment, rate, seed = config.augment, config.features.sample_rate, config.run.seed
    cache = expand(config.data.cache or config.run.output + "/cache")
    rt60 = (augment.rt60_low, augment.rt60_high)
    room_responses(augment.room_count, rt60=rt60, sample_rate=rate, seed=seed, cache=cache)
    name = responses_file(augment.room_count, rt60, rate, seed)
    writer.add(f"{CACHE}/{name}", cache / name)


def _add_bundle(writer: PartWriter, bundle: Path) -> None:
    files = sorted(path for path in bundle.iterdir() if path.is_file()) if bundle.is_dir() else []
    if not files:
        raise ConfigError(f"run.start_from: {bundle} is no model folder")
    for path in files:
        writer.add(f"{START}/{path.name}", path)
