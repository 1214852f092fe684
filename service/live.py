"""One live stream of the daemon: on the path of all streams, counted, watched and controlled."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from asr.errors import AsrError
from asr.streaming import Recognizer, Session

from .behaviour import Behaviour
from .events import Event, Final
from .gate import Gate
from .health import SourceState, StreamHealth
from .history import AudioHistory
from .sources.base import AudioSource, Inlet, Lossy, Relayed, Samples, Waiting
from .streams import Publish, Stepper, follow
from .systemd import Watchdog
from .transcriber import StreamTranscriber

log = logging.getLogger(__name__)

_NUDGE = np.zeros(0, np.float32)


class LiveStream:
    """Follows an inlet, and is itself the inlet, the stepper and the publisher of `follow`.

    What is asked of it takes effect before its next block, or at once if none comes.
    """

    def __init__(
        self,
        inlet: Inlet,
        recognizer: Recognizer,
        behaviour: Behaviour,
        batcher: Stepper,
        publish: Publish,
        health: StreamHealth,
        *,
        make_gate: Callable[[], Gate] | None = None,
        make_history: Callable[[], AudioHistory] | None = None,
        watchdog: Watchdog | None = None,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`watchdog` is given where audio is due all the time, as it is from a microphone.

        `changed` is called with each change of the health that people should see.
        """
        self.name, self.health = inlet.name, health
        self.whole = False
        """Whether its last source was heard to its end."""
        self.settled = asyncio.Event()
        """Set once its source is open, or it is known why not."""
        self.ended = asyncio.Event()
        self.failure: Exception | None = None
        """What ended it."""
        self._inlet, self._recognizer, self._behaviour = inlet, recognizer, behaviour
        self._batcher, self._fanout = batcher, publish
        self._make_gate, self._make_history = make_gate, make_history
        self._watchdog, self._watched = watchdog, f"audio of {inlet.name}"
        self._changed, self._clock, self._wall = changed, clock, wall
        self._began = clock()
        self._transcriber: StreamTranscriber | None = None
        self._muted = self._talking = self._open = False
        self._decided = 0.0
        self._asked = False
        self._nudge: Callable[[], None] | None = None
        if isinstance(inlet, Waiting):
            inlet.on_waiting = self._waits

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the inlet to its end or to `stop`; what it fails with is kept in `failure`."""
        try:
            await follow(self, self._make, self, self._publish, stop)
            self._become("ended")
        except (AsrError, OSError) as error:
            self._fail(error, str(error))
        except Exception as error:  # task boundary: a stream that fails harms no other
            self._fail(error, f"{type(error).__name__}: {error}")
        finally:
            self.settled.set()
            self.ended.set()

    @property
    def began(self) -> float:
        """Unix time at the stream's time 0, by what the wall clock says now.

        It is set while the stream runs, by NTP behind a boot, and goes on while the machine sleeps.
        """
        return self._began + self._wall() - self._clock()

    def configure(self, behaviour: Behaviour) -> None:
        """Change what a reload changes; another search begins with the next utterance."""
        self._behaviour = behaviour
        if self._transcriber is not None:
            self._transcriber.configure(behaviour.endpoint, behaviour.decoder, behaviour.wake)

    def flush(self) -> None:
        """See `service.control.Controlled`, also for the rest."""
        if self._transcriber is not None:
            self._transcriber.flush_utterance()
            self._ask()

    def mute(self) -> None:
        self._muted = True
        if self._transcriber is not None:
            self._transcriber.mute()
        self._hears()

    def unmute(self) -> None:
        self._muted = False
        if self._transcriber is not None:
            self._transcriber.unmute()
        self._hears()

    def talk(self, on: bool) -> None:
        self._talking = on
        if self._transcriber is not None:
            self._transcriber.talk(on)
            self._ask()

    @property
    def returns(self) -> bool:
        return self._inlet.returns

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AudioSource]:
        """The inlet's next source, counted and watched while it is open."""
        async with self._inlet.open() as source:
            self._open = True
            self._hears()
            self.settled.set()
            if self._watchdog is not None:
                self._watchdog.expect(self._watched)
            try:
                yield _Counted(source, self)
            finally:
                self._open = False
                self._become("waiting")
                if self._watchdog is not None:
                    self._watchdog.rest(self._watched)

    async def step(self, session: Session) -> None:
        """Advance the session, and count what that took."""
        began, frame = self._clock(), session.frame
        await self._batcher.step(session)
        now = self._clock()
        self.health.compute_seconds += now - began
        self.health.decoded_seconds += (session.frame - frame) * self._recognizer.frame_seconds
        if self._transcriber is not None and not self._transcriber.flushing:
            self._decided = now

    def heard(self, source: AudioSource, samples: Samples) -> None:
        """Count a block."""
        self.health.heard_seconds += len(samples) / source.sample_rate
        if self._watchdog is not None:
            self._watchdog.feed(self._watched)

    async def next_of(self, coming: asyncio.Future[Samples | None]) -> Samples | None:
        """The block that comes, or an empty one before it if something is asked meanwhile."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake(_: object = None) -> None:
            if not woken.done():
                woken.set_result(None)

        coming.add_done_callback(wake)
        self._nudge = wake
        if self._asked:
            wake()
        try:
            await woken
        finally:
            coming.remove_done_callback(wake)
            self._nudge, self._asked = None, False
        return coming.result() if coming.done() else _NUDGE

    def _make(self, name: str, sample_rate: int) -> StreamTranscriber:
        self._began = self._clock()
        transcriber = StreamTranscriber(
            name, self._recognizer, sample_rate,
            endpoint=self._behaviour.endpoint, decoder=self._behaviour.decoder,
            wake=self._behaviour.wake,
            gate=self._make_gate() if self._make_gate is not None else None,
            history=self._make_history() if self._make_history is not None else None,
        )  # fmt: skip
        if self._muted:
            transcriber.mute()
        transcriber.talk(self._talking)
        self._transcriber = transcriber
        return transcriber

    async def _publish(self, event: Event) -> None:
        await self._fanout(event)
        if isinstance(event, Final):
            self.health.utterances += 1
            self.health.latencies.append(self._clock() - self._decided)
            log.debug("%s: %s", self.name, event.text)
            self._changed()

    def _ask(self) -> None:
        self._decided = self._clock()
        self._asked = True
        if self._nudge is not None:
            self._nudge()

    def _hears(self) -> None:
        if self._open:
            self._become("muted" if self._muted else "listening")

    def _waits(self, reason: str) -> None:
        self._become("waiting", reason)
        self.settled.set()

    def _fail(self, error: Exception, reason: str) -> None:
        self.failure = error
        log.error("%s: %s", self.name, reason, exc_info=log.isEnabledFor(logging.DEBUG))
        self._become("failed", reason)

    def _become(self, state: SourceState, detail: str = "") -> None:
        self.health.state, self.health.detail = state, detail
        self._changed()


@dataclass(frozen=True)
class _Counted(Relayed):
    """The blocks of a source, and an empty one whenever something is asked of the stream."""

    stream: LiveStream

    async def __aiter__(self) -> AsyncIterator[Samples]:
        blocks = aiter(self.source)
        before = self.stream.health.dropped_seconds
        coming: asyncio.Future[Samples | None] | None = None
        try:
            while True:
                coming = coming or _soon(anext(blocks, None))
                samples = await self.stream.next_of(coming)
                if samples is None:
                    self.stream.whole = True
                    return
                if samples is not _NUDGE:
                    coming = None
                    self.stream.heard(self.source, samples)
                    if isinstance(self.source, Lossy):
                        dropped = before + self.source.dropped_seconds
                        self.stream.health.dropped_seconds = dropped
                yield samples
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)


def _soon(awaitable: Awaitable[Samples | None]) -> asyncio.Future[Samples | None]:
    return asyncio.ensure_future(awaitable)
