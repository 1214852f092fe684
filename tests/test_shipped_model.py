"""The model in models/: it streams as the whole, and reads its example."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from asr.bundle import load_recognizer
from asr.errors import BundleError
from asr.locations import MODEL_VARIABLE, default_model_dir
from asr.streaming import Recognizer
from service.cli import main
from service.events import Event, Partial
from service.offline import FileSource, transcribe_sources
from service.transcriber import StreamTranscriber
from tests.equivalence import (
    assert_same,
    drain,
    heard,
    open_session,
    packets,
    recording,
    streamed,
    whole,
)

PHASES = (Phase.explicit, Phase.generate)  # shrinking would take minutes
FEW = settings(
    max_examples=3, derandomize=True, deadline=None, database=None, phases=PHASES
)


def lacking(reason: str) -> None:
    """Skip where a clone may lack the model; on CI it must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def folder() -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(MODEL_VARIABLE, raising=False)
        try:
            return default_model_dir()
        except BundleError as error:
            lacking(str(error))
            raise


@pytest.fixture(scope="module")
def example(folder: Path) -> Path:
    path = folder / "example.wav"
    for file in (path, path.with_suffix(".txt")):
        if not file.is_file():
            lacking(f"{file} is missing")
    return path


@pytest.fixture(scope="module")
def recognizer(folder: Path) -> Recognizer:
    """The shipped model with greedy search, whatever its best decoder is."""
    return recording(load_recognizer(folder, decoder="greedy"))


@pytest.fixture(scope="module")
def speech(example: Path) -> tuple[NDArray[np.float32], int]:
    """Up to three seconds of the example, and their sample rate."""
    samples, rate = soundfile.read(example, dtype="float32")
    return samples[: 3 * rate], rate


@FEW
@given(sizes=st.lists(st.integers(0, 9_000), min_size=1, max_size=4).filter(any))
def test_packet_sizes_do_not_matter(
    recognizer: Recognizer, speech: tuple[NDArray[np.float32], int], sizes: list[int]
) -> None:
    samples, rate = speech
    expected = whole(recognizer, samples, rate)
    assert expected.tokens
    assert_same(streamed(recognizer, samples, sizes, rate), expected)


def test_streams_of_every_length_equal_the_whole(
    recognizer: Recognizer, speech: tuple[NDArray[np.float32], int]
) -> None:
    config = recognizer.extractor.config
    chunk = config.n_fft + (recognizer.chunk_frames - 1) * config.hop_length
    near = [at + by for at in (config.n_fft, chunk) for by in (-1, 0, 1)]
    for length in (0, 1, *near):
        samples = speech[0][-length:] if length else speech[0][:0]
        assert_same(streamed(recognizer, samples, (701,)), whole(recognizer, samples))


def test_streams_in_one_batch_do_not_meet(
    recognizer: Recognizer, speech: tuple[NDArray[np.float32], int]
) -> None:
    samples, rate = speech
    audio = [samples, samples[rate // 3 :], samples[: rate // 2], samples[:0]]
    sessions = [open_session(recognizer, part, rate) for part in audio]
    left = [list(packets(part, (rate // 7 + i,))) for i, part in enumerate(audio)]
    while not all(session.finished for session in sessions):
        for session, queue in zip(sessions, left, strict=True):
            if queue:
                session.accept(queue.pop(0))
            else:
                session.finish()
        recognizer.step([session for session in sessions if session.ready])
    for part, session in zip(audio, sessions, strict=True):
        assert_same(heard(session), whole(recognizer, part, rate))


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_every_sample_rate_streams_as_the_whole(
    recognizer: Recognizer, speech: tuple[NDArray[np.float32], int], rate: int
) -> None:
    samples = speech[0][: 2 * speech[1]]
    assert_same(
        streamed(recognizer, samples, (37, 3_000), rate), whole(recognizer, samples, rate)
    )


@pytest.mark.parametrize("dbfs", [None, -60.0], ids=["digital silence", "low noise"])
def test_silence_gives_no_text(recognizer: Recognizer, dbfs: float | None) -> None:
    samples = np.zeros(32_000, np.float32)
    if dbfs is not None:
        noise = np.random.default_rng(0).standard_normal(len(samples))
        samples = (noise * 10 ** (dbfs / 20)).astype(np.float32)
    session = recognizer.new_session(16_000)
    session.accept(samples)
    session.finish()
    drain(recognizer, session)
    assert session.transcript().text == ""


def test_the_example_is_read_without_a_mistake(folder: Path, example: Path) -> None:
    (result,) = transcribe_sources(load_recognizer(folder), [FileSource(example)])
    assert result.reason is None
    assert result.text == example.with_suffix(".txt").read_text(encoding="utf-8").strip()


def test_its_language_model_knows_what_a_grammar_may_use(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grammar = tmp_path / "g.yaml"
    grammar.write_text(
        "language: en\nintents: {A: {data: [{sentences: [turn on the xylotron]}]}}\n"
    )
    assert main(["grammar", "check", str(grammar), "--model", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unknown_words"] == ["xylotron"]


def test_partials_appear_before_the_example_ends(recognizer: Recognizer, example: Path) -> None:
    samples, rate = soundfile.read(example, dtype="float32")
    transcriber = StreamTranscriber("example", recognizer, rate)
    events: list[Event] = []
    for packet in packets(samples[: len(samples) * 2 // 3], (rate // 10,)):
        transcriber.accept(packet)
        while transcriber.session.ready:
            recognizer.step([transcriber.session])
            events += transcriber.events()
    partials = [event.text for event in events if isinstance(event, Partial)]
    assert len(partials) >= 2
    assert all(partials)
