"""Many recordings at once: order, isolation, batching and bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.audio import AudioReader
from asr.errors import AudioFileError
from asr.streaming import Recognizer, Session
from service.endpointing import EndpointConfig
from service.events import Event, Partial
from service.offline import BlockSource, FileSource, SourceResult, transcribe_sources

Speech = Callable[..., NDArray[np.float32]]


class MemorySource:
    """Audio from an array that notes what is read from it."""

    def __init__(
        self, name: str, samples: NDArray[np.float32], block: int = 4000, fail_at: int | None = None
    ) -> None:
        self.name = name
        self.samples, self.block, self.fail_at = samples, block, fail_at
        self.blocks_read = 0
        self.opened = self.closed = False

    @contextmanager
    def open(self) -> Iterator[AudioReader]:
        self.opened = True
        yield AudioReader(16_000, 1, len(self.samples) / 16_000, self.blocks())
        self.closed = True

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        for at in range(0, len(self.samples), self.block):
            if self.blocks_read == self.fail_at:
                raise AudioFileError(self.name, "truncated")
            self.blocks_read += 1
            yield self.samples[at : at + self.block, None]


def texts(results: Sequence[SourceResult]) -> list[str]:
    return [result.text for result in results]


@pytest.mark.parametrize("streams", [1, 2, 7])
def test_results_come_in_the_order_of_the_sources(
    recognizer: Recognizer, speech: Speech, streams: int
) -> None:
    said = ["a b c d a b", "b", "", "c.d", "ab"]
    sources = [MemorySource(str(i), speech(text)) for i, text in enumerate(said)]
    results = list(transcribe_sources(recognizer, sources, streams=streams))
    assert [result.name for result in results] == list("01234")
    assert texts(results) == ["a b c d a b", "b", "", "c d", "ab"]
    assert all(source.closed for source in sources)
    assert [r.seconds for r in results] == [len(s.samples) / 16_000 for s in sources]


def test_streams_and_blocks_do_not_matter(noisy_recognizer: Recognizer, speech: Speech) -> None:
    rules = EndpointConfig(max_utterance=0.5, hard_limit=1.0)

    def run(streams: int, block: int) -> list[SourceResult]:
        sources = [MemorySource(t, speech(t), block) for t in ("ab", "c.d", "bad cab", "d")]
        return list(transcribe_sources(noisy_recognizer, sources, streams=streams, endpoint=rules))

    expected = run(streams=1, block=16_000)
    assert any(len(result.finals) > 1 for result in expected)
    for streams, block in ((4, 16_000), (2, 777), (3, 100_000)):
        assert texts(run(streams, block)) == texts(expected)


def test_a_failing_source_harms_no_other_and_keeps_what_was_read(
    recognizer: Recognizer, speech: Speech
) -> None:
    nan = speech("ab cd")
    nan[9000] = np.nan
    sources: list[BlockSource] = [
        MemorySource("good", speech("ab cd")),
        MemorySource("cut", speech("ab cd"), fail_at=3),
        MemorySource("nan", nan),
        FileSource(Path("missing.wav")),
        MemorySource("also good", speech("d")),
    ]
    good, cut, broken, missing, also = transcribe_sources(recognizer, sources, streams=3)
    assert (good.text, also.text) == ("ab cd", "d")
    assert good.reason is also.reason is None
    assert (cut.text, cut.reason, cut.seconds) == ("ab c", "truncated", 0.75)
    assert broken.text == "ab"
    assert broken.reason == "samples hold NaN or infinite values"
    assert (missing.text, missing.reason) == ("", "no such file or directory")


def test_silence_and_nothing_at_all_are_no_errors(recognizer: Recognizer) -> None:
    sources = [MemorySource(str(n), np.zeros(n, np.float32)) for n in (0, 1, 100_000)]
    for result in transcribe_sources(recognizer, sources):
        assert (result.text, result.finals, result.error) == ("", (), None)


def test_no_source_is_read_ahead_of_the_model(
    recognizer: Recognizer, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [MemorySource(str(i), speech("abcd" * 10), block=16_000) for i in range(3)]
    held: list[int] = []
    step = recognizer.step

    def watch(sessions: Sequence[Session]) -> None:
        held.extend(session._chunks.pending for session in sessions)
        assert all(s.blocks_read * 16_000 <= sessions[0].frame * 640 + 33_000 for s in sources[:3])
        step(sessions)

    monkeypatch.setattr(recognizer, "step", watch)
    list(transcribe_sources(recognizer, sources, streams=3))
    assert max(held) <= 100 + recognizer.chunk_frames  # one block of 1 s is 100 frames


def test_ready_streams_share_one_batch_and_no_more_are_open_than_asked(
    recognizer: Recognizer, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [MemorySource(str(i), speech("abcd")) for i in range(5)]
    batches: list[int] = []
    step = recognizer.step

    def watch(sessions: Sequence[Session]) -> None:
        batches.append(len(sessions))
        assert sum(source.opened and not source.closed for source in sources) <= 2
        step(sessions)

    monkeypatch.setattr(recognizer, "step", watch)
    list(transcribe_sources(recognizer, sources, streams=2))
    assert max(batches) == 2
    assert batches.count(2) > batches.count(1)


def test_progress_climbs_to_the_number_of_sources(recognizer: Recognizer, speech: Speech) -> None:
    missing = FileSource(Path("missing.wav"))
    sources: list[BlockSource] = [MemorySource("x", speech("abcd")), missing]
    done: list[float] = []
    list(transcribe_sources(recognizer, sources, on_progress=done.append))
    assert done == sorted(done)
    assert any(0 < d % 1 < 1 for d in done)
    assert done[-1] == 2


def test_events_name_their_stream(recognizer: Recognizer, speech: Speech) -> None:
    sources = [MemorySource("x", speech("ab")), MemorySource("y", speech("c"))]
    events: list[Event] = []
    list(transcribe_sources(recognizer, sources, on_event=events.append))
    shown = [(e.stream, e.text) for e in events if isinstance(e, Partial)]
    assert sorted(shown) == [("x", "a"), ("x", "ab"), ("y", "c")]


def test_stopping_early_closes_what_is_open(recognizer: Recognizer, speech: Speech) -> None:
    sources = [MemorySource("x", speech("a")), MemorySource("y", speech("abcd" * 20))]
    results = transcribe_sources(recognizer, sources)
    next(results)
    assert not sources[1].closed
    results.close()  # type: ignore[attr-defined]
    assert sources[1].closed


def test_an_error_of_the_model_is_raised_and_everything_closed(
    recognizer: Recognizer, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(sessions: Sequence[Session]) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(recognizer, "step", fail)
    source = MemorySource("x", speech("a"))
    with pytest.raises(RuntimeError, match="out of memory"):
        list(transcribe_sources(recognizer, [source]))
    assert source.closed
