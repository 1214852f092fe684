"""Live streams: one path for all sources, interruptions, and an orderly end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.streaming import Recognizer
from service.batcher import Batcher
from service.events import Event, Final
from service.sources.pcm import PcmInlet
from service.streams import follow, run_stream, run_streams, stop_on_signals
from service.transcriber import StreamTranscriber

Speech = Callable[..., NDArray[np.float32]]
PACKET = 1600


class Source:
    """Given samples; with `behind` it goes there next and is silent for ever."""

    def __init__(
        self,
        samples: NDArray[np.float32],
        rate: int = 16_000,
        behind: asyncio.Barrier | None = None,
    ) -> None:
        self.name, self.sample_rate = "x", rate
        self._samples, self._behind = samples, behind

    async def __aiter__(self) -> AsyncIterator[NDArray[np.float32]]:
        for at in range(0, len(self._samples), PACKET):
            yield self._samples[at : at + PACKET]
        if self._behind is not None:
            await self._behind.wait()
            await asyncio.Event().wait()


class Inlet:
    """Gives one source after another, then none."""

    def __init__(self, *sources: Source, name: str = "x") -> None:
        self.name, self._sources = name, list(sources)

    @property
    def returns(self) -> bool:
        return bool(self._sources)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Source]:
        yield self._sources.pop(0)


@pytest.fixture
def run(recognizer: Recognizer) -> Callable[..., list[Final]]:
    def make(name: str, rate: int) -> StreamTranscriber:
        return StreamTranscriber(name, recognizer, rate, partials=False)

    def run(serve: Callable[..., Any]) -> list[Final]:
        found: list[Final] = []

        async def publish(event: Event) -> None:
            assert isinstance(event, Final)
            found.append(event)

        async def main() -> None:
            batcher = Batcher(recognizer)
            await asyncio.wait_for(serve(make, batcher, publish), 20)
            await batcher.aclose()

        asyncio.run(main())
        return found

    return run


def test_a_source_is_transcribed_to_its_end(run: Any, speech: Speech) -> None:
    async def serve(make: Any, batcher: Batcher, publish: Any) -> None:
        source = Source(speech("ab c.d"))
        await run_stream(source, make("x", 16_000), batcher, publish)

    assert [final.text for final in run(serve)] == ["ab c", "d"]


def test_a_source_that_comes_back_goes_on_in_the_same_stream(run: Any, speech: Speech) -> None:
    async def serve(make: Any, batcher: Batcher, publish: Any) -> None:
        inlet = Inlet(Source(speech("ab")), Source(speech("c", rate=48_000), 48_000))
        times = iter([100.0, 130.0])
        await follow(inlet, make, batcher, publish, asyncio.Event(), clock=lambda: next(times))

    first, second = run(serve)
    assert [(f.text, f.utterance) for f in (first, second)] == [("ab", 0), ("c", 1)]
    assert first.start == pytest.approx(0.1, abs=0.05)
    assert second.start == pytest.approx(30.1, abs=0.05)


def test_stopping_finishes_the_last_utterance(run: Any, speech: Speech) -> None:
    async def serve(make: Any, batcher: Batcher, publish: Any) -> None:
        stop = asyncio.Event()
        behind = asyncio.Barrier(3)
        silent, source = Source(speech("ab c"), behind=behind), Source(speech("d"), behind=behind)
        with stop_on_signals(stop):
            streams = run_streams(
                [Inlet(silent), Inlet(source, name="y")], make, batcher, publish, stop
            )
            task = asyncio.create_task(streams)
            await behind.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            assert await task

    assert {(final.stream, final.text) for final in run(serve)} == {("x", "ab c"), ("y", "d")}


def test_a_stream_that_fails_harms_no_other(
    run: Any, speech: Speech, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(make: Any, batcher: Batcher, publish: Any) -> None:
        inlets = [PcmInlet(tmp_path / "missing"), Inlet(Source(speech("ab")))]
        assert not await run_streams(inlets, make, batcher, publish, asyncio.Event())

    assert [final.text for final in run(serve)] == ["ab"]
    assert "missing" in caplog.text


def test_raw_pcm_is_read_from_a_fifo(run: Any, speech: Speech, tmp_path: Path) -> None:
    fifo = tmp_path / "audio"
    os.mkfifo(fifo)
    data = (speech("ab c") * 32767).astype("<i2").repeat(2).tobytes()

    async def serve(make: Any, batcher: Batcher, publish: Any) -> None:
        write = asyncio.to_thread(fifo.write_bytes, data)
        inlet = PcmInlet(fifo, channels=2)
        await asyncio.gather(
            write, follow(inlet, make, batcher, publish, asyncio.Event())
        )

    assert [final.text for final in run(serve)] == ["ab c"]


def test_a_fifo_that_nobody_writes_to_can_be_stopped(run: Any, tmp_path: Path) -> None:
    fifo = tmp_path / "audio"
    os.mkfifo(fifo)

    async def serve(make: Any, batcher: Batcher, publish: Any) -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(follow(PcmInlet(fifo), make, batcher, publish, stop))
        await asyncio.sleep(0)
        stop.set()
        await task
        fifo.open("wb").close()  # lets the thread go

    assert run(serve) == []
