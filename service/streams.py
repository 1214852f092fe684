"""Run live streams: from a source through recogniser to events, until told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from asr.errors import AsrError
from asr.streaming import Session

from .events import Event
from .sources.base import AudioSource, Inlet, Relayed, Samples
from .transcriber import StreamTranscriber

log = logging.getLogger(__name__)

Publish = Callable[[Event], Awaitable[None]]
_T = TypeVar("_T")
MakeTranscriber = Callable[[str, int], StreamTranscriber]
"""By the stream's name and its sample rate."""


class Stepper(Protocol):
    """Steps sessions, as `Batcher` does."""

    async def step(self, session: Session) -> None:
        """Advance a ready session by one chunk."""
        ...


async def run_stream(
    source: AudioSource, transcriber: StreamTranscriber, batcher: Stepper, publish: Publish
) -> None:
    """Transcribe a source to its end; the last utterance is finished there."""

    async def drain() -> None:
        while transcriber.session.ready:
            await batcher.step(transcriber.session)
            for event in transcriber.events():
                await publish(event)

    async def finish() -> None:
        transcriber.finish()
        await drain()
        for event in transcriber.last_events():
            await publish(event)

    async for samples in source:
        transcriber.accept(samples)
        await drain()
        if transcriber.flushing:
            await finish()
            transcriber.start_anew()
    await finish()


async def follow(
    inlet: Inlet,
    make_transcriber: MakeTranscriber,
    batcher: Stepper,
    publish: Publish,
    stop: asyncio.Event,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run one stream through all sources of an inlet, until there are no more or `stop`.

    An interruption ends an utterance; afterwards times go on as the clock has.
    """
    transcriber: StreamTranscriber | None = None
    began = 0.0
    while not stop.is_set():
        context = inlet.open()
        source = await _unless(stop, context.__aenter__())
        if source is None:
            return
        try:
            if transcriber is None:
                began = clock()
                transcriber = make_transcriber(inlet.name, source.sample_rate)
            else:
                transcriber.resume(source.sample_rate, clock() - began)
            await run_stream(_Stoppable(source, stop), transcriber, batcher, publish)
        finally:
            await context.__aexit__(None, None, None)
        if not inlet.returns:
            return


async def run_streams(
    inlets: Sequence[Inlet],
    make_transcriber: MakeTranscriber,
    batcher: Stepper,
    publish: Publish,
    stop: asyncio.Event,
) -> bool:
    """Follow several inlets at once; a stream that fails is logged and harms no other.

    Whether all ended well.
    """
    failed = []

    async def guarded(inlet: Inlet) -> None:
        try:
            await follow(inlet, make_transcriber, batcher, publish, stop)
        except BrokenPipeError:  # nobody reads the output any more
            raise
        except (AsrError, OSError) as error:
            failed.append(inlet.name)
            log.error("%s: %s", inlet.name, error)

    async with asyncio.TaskGroup() as group:
        for inlet in inlets:
            group.create_task(guarded(inlet))
    return not failed


@contextmanager
def stop_on_signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`; the second one ends the process at once."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stop.set()

    for number in signals:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@dataclass(frozen=True)
class _Stoppable(Relayed):
    """A source that ends at `stop` too."""

    stop: asyncio.Event

    async def __aiter__(self) -> AsyncIterator[Samples]:
        blocks = aiter(self.source)
        while True:
            samples = await _unless(self.stop, anext(blocks, None))
            if samples is None:
                return
            yield samples


async def _unless(stop: asyncio.Event, awaitable: Awaitable[_T]) -> _T | None:
    """The result, or None once `stop` is set; what was awaited is cancelled then."""

    async def wait() -> _T:
        return await awaitable

    tasks = asyncio.create_task(wait()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return None if tasks[0].cancelled() else tasks[0].result()
