"""Kept audio: what was said can be evaluated, within a limit, and trouble harms nobody."""

from __future__ import annotations

import asyncio
import json
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asr.decoding.base import Word
from asr.decoding.grammar.interpretation import Interpretation, Slot
from asr.manifest import read_manifest
from asr.streaming import Recognizer
from service.cli import main as asrd
from service.events import Final
from service.history import DELAY_SECONDS, MARGIN_SECONDS, AudioHistory, Utterance
from service.recording import MAX_WAITING, Recorder, RecordingFolder
from service.transcriber import StreamTranscriber

Speech = Callable[..., NDArray[np.float32]]

RATE = 16_000
FINAL = Final("x", 0, (Word("turn", 1.0, 1.2, 0.9), Word("off", 1.2, 1.5, 0.7)))
NOISE = np.random.default_rng(1).integers(-9999, 9999, RATE, np.int16)
UTTERANCE = Utterance(FINAL, NOISE, RATE)


def began(stream: str) -> float:
    return 1_700_000_000.0


def ramp(first: int, count: int) -> NDArray[np.float32]:
    """Samples that tell their own number."""
    return (np.arange(first, first + count) / 32_767).astype(np.float32)


def at(start: float, end: float) -> Final:
    return Final("x", 0, (Word("a", start, end, 1.0),))


@pytest.mark.parametrize("packet", [1, 70, 100, 1000, 9999])
def test_an_utterance_is_cut_with_a_margin_however_audio_came(packet: int) -> None:
    found: list[Utterance] = []
    history = AudioHistory(7.0, found.append)
    history.start(100, 0.0)
    for first in range(0, 2000, packet):
        history.push(ramp(first, min(packet, 2000 - first)))
    history.keep(at(15.0, 16.0))
    history.keep(at(18.0, 19.9))  # its margin was not heard any more
    history.keep(at(20.0 - 7.0 - DELAY_SECONDS, 12.0))  # neither was that of the oldest
    assert [(int(u.samples[0]), int(u.samples[-1])) for u in found] == [
        (1500 - MARGIN_SECONDS * 100, 1600 + MARGIN_SECONDS * 100 - 1),
        (1800 - MARGIN_SECONDS * 100, 1999),
        (1000, 1200 + MARGIN_SECONDS * 100 - 1),
    ]
    history.keep(at(9.9, 12.0))
    assert len(found) == 3, "partly dropped"


def test_a_history_may_become_longer_and_shorter() -> None:
    found: list[Utterance] = []
    history = AudioHistory(7.0, found.append)
    history.start(100, 0.0)
    history.push(ramp(0, 1000))
    history.lengthen(5.0)
    history.push(ramp(1000, 500))
    history.keep(at(1.0, 2.0))
    assert [int(u.samples[0]) for u in found] == [100 - MARGIN_SECONDS * 100]
    history.lengthen(-10.0)
    history.push(ramp(1500, 1))
    history.keep(at(1.0, 2.0))
    assert len(found) == 1


def test_a_history_is_bounded_and_forgets_when_muted() -> None:
    found: list[Utterance] = []
    history = AudioHistory(7.0, found.append)
    history.start(100, 0.0)
    for _ in range(50):
        history.push(np.ones((300, 2), np.float32))
    assert sum(map(len, history._blocks)) == 1000
    history.clear()
    history.keep(at(149.0, 149.5))
    history.push(np.zeros(100, np.float32))
    history.keep(at(149.0, 149.5))
    assert found == []
    history.keep(at(150.1, 150.5))
    assert not found[0].samples.any()
    history.start(50, 500.0)
    history.push(ramp(0, 100))
    history.keep(at(500.5, 501.0))
    assert (found[1].sample_rate, found[1].samples[0]) == (50, 25 - MARGIN_SECONDS * 50)


def record(recognizer: Recognizer, samples: NDArray[np.float32], recorder: Recorder) -> list[str]:
    transcriber = StreamTranscriber("x", recognizer, RATE, history=recorder.history(40.0))
    texts: list[str] = []

    def drain() -> None:
        while transcriber.session.ready:
            recognizer.step([transcriber.session])
            texts.extend(e.text for e in transcriber.events() if isinstance(e, Final))

    for first in range(0, len(samples), 1600):
        transcriber.accept(samples[first : first + 1600])
        drain()
    transcriber.finish()
    drain()
    return texts + [event.text for event in transcriber.last_events()]


def test_what_was_said_can_be_evaluated(
    recognizer: Recognizer, speech: Speech, tmp_path: Path, bundled: Any, capsys: Any
) -> None:
    folder = tmp_path / "deep" / "audio"
    recorder = Recorder(folder, began)
    assert not folder.exists()
    texts = record(recognizer, speech("ab c.d.bad"), recorder)
    asyncio.run(recorder.aclose(60))
    assert (recorder.kept, recorder.lost, len(texts)) == (3, 0, 3)
    manifest = folder / "manifest.jsonl"
    recordings = read_manifest(manifest)
    assert [r.text for r in recordings] == texts == ["ab c", "d", "bad"]
    for recording in recordings:
        info = soundfile.info(recording.audio)
        assert (info.format, info.samplerate, info.channels) == ("FLAC", RATE, 1)
        assert recording.seconds == pytest.approx(info.duration, abs=1e-3)
    first, second, _ = (r.extra["time"] - began("x") for r in recordings)
    assert (first, second) == (pytest.approx(0.1, abs=0.1), pytest.approx(2.4, abs=0.1))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert asrd(["evaluate", str(manifest), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["utterances"], document["wer"]) == (3, 0.0)


def test_commands_are_labelled_in_the_words_that_were_spoken(tmp_path: Path) -> None:
    slots = (Slot("state", "on", "switched on"), Slot("count", 2, "two"), Slot("fixed", 1, ""))
    folder = RecordingFolder(tmp_path, 10**6)
    command = Interpretation("Turn", slots, "home", "x")
    folder.add(replace(UTTERANCE, final=replace(FINAL, understood=True, interpretation=command)), 0)
    folder.add(replace(UTTERANCE, final=replace(FINAL, understood=False)), 0)
    one, other = read_manifest(tmp_path / "manifest.jsonl")
    assert dict(one.extra) == {
        "time": 0, "confidence": 0.8, "understood": True, "intent": "Turn",
        "slots": {"state": "switched on", "count": "two"},
    }  # fmt: skip
    assert dict(other.extra) == {"time": 0, "confidence": 0.8, "understood": False}
    assert one.audio != other.audio


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_the_oldest_make_room_for_new_ones_after_a_restart_too(tmp_path: Path) -> None:
    limit = 300_000
    for number in range(60):
        if number % 7 == 0:  # a restart
            folder = RecordingFolder(tmp_path, limit)
        folder.add(UTTERANCE, 1000.0 + number)
        assert used(tmp_path) <= limit
    recordings = read_manifest(tmp_path / "manifest.jsonl")
    times = [recording.extra["time"] for recording in recordings]
    assert times == [1060.0 - count for count in range(len(times), 0, -1)]
    assert len(times) > 5
    assert {r.audio for r in recordings} == set(tmp_path.glob("*.flac"))


def test_what_people_put_into_the_folder_stays(tmp_path: Path) -> None:
    foreign = tmp_path / "mine.flac"
    foreign.write_bytes(bytes(200_000))
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"audio": "mine.flac", "text": "\u2028"}')  # no end of line
    folder = RecordingFolder(tmp_path, 100_000)
    for number in range(10):
        folder.add(UTTERANCE, number)
    assert foreign.exists()
    assert [r.text for r in read_manifest(manifest)][:2] == ["\u2028", "turn off"]


def test_a_crash_in_the_middle_of_writing_is_mended(tmp_path: Path) -> None:
    RecordingFolder(tmp_path, 10**6).add(UTTERANCE, 0)
    manifest = tmp_path / "manifest.jsonl"
    with manifest.open("a") as file:
        file.write('{"audio": "19700101T0000')
    part = tmp_path / "19700101T000001000-x.flac.part"
    part.write_bytes(b"fLaC")
    RecordingFolder(tmp_path, 10**6).add(UTTERANCE, 1)
    assert len(read_manifest(manifest)) == 2
    assert not part.exists()


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Any file that grows beyond `size` fails, as on a disk without room."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, size: int) -> None:
    folder = RecordingFolder(tmp_path, 10**6)
    folder.add(UTTERANCE, 0)
    with (tmp_path / "manifest.jsonl").open("a") as file:  # the line will not fit, either
        file.write("\n" * 40_000)
    before = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    for limit in (size, 40_000):
        with full_disk(limit), pytest.raises(OSError, match="too large"):
            folder.add(UTTERANCE, 1)
        assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == before
    folder.add(UTTERANCE, 1)
    assert len(read_manifest(tmp_path / "manifest.jsonl")) == 2


def test_trouble_is_told_once_and_over_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "file" / "audio"
    (tmp_path / "file").write_text("no folder")
    recorder = Recorder(folder, began)
    for _ in range(3):
        recorder.keep(UTTERANCE)
    asyncio.run(recorder.aclose(60))
    assert (recorder.kept, recorder.lost) == (0, 3)
    assert caplog.messages == [f"{folder}: cannot keep audio: Not a directory"]
    assert "turn" not in caplog.text
    recorder._closed = False
    recorder._thread = None
    (tmp_path / "file").unlink()
    recorder.keep(UTTERANCE)
    asyncio.run(recorder.aclose(60))
    assert recorder.kept == 1


def test_a_slow_disk_loses_the_oldest_and_never_blocks(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, began)
    recorder._thread = slow = _Slow()  # type: ignore[assignment]
    for _ in range(MAX_WAITING + 3):
        recorder.keep(UTTERANCE)
    assert recorder.lost == 3
    asyncio.run(recorder.aclose())
    assert slow.joined == 1.0


class _Slow:
    """A thread that does not get on."""

    joined = 0.0

    def join(self, seconds: float) -> None:
        self.joined = seconds


def test_an_utterance_beyond_the_limit_costs_no_other(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path, 100_000)
    folder.add(UTTERANCE, 0)
    with pytest.raises(OSError, match="larger than max_mb"):
        folder.add(replace(UTTERANCE, samples=np.tile(NOISE, 5)), 1)
    assert len(read_manifest(tmp_path / "manifest.jsonl")) == 1
