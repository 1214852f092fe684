"""The daemon: its microphones live to all outputs, controlled, watched and reloaded.

One event loop owns all of it and one thread runs the model. `Daemon.run` is startup, main loop
and shutdown, in this order.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from asr import __version__
from asr.bundle import Bundle
from asr.errors import AsrError, ConfigError

from .batcher import Batcher
from .behaviour import Behaviour, load_behaviour
from .config import DaemonConfig
from .config_changes import changes, reloaded
from .control_requests import RequestError
from .errors import NoStreamLeft, UnknownStreamError
from .events import Event
from .gate import Gate, silero_detector
from .health import Health
from .live import LiveStream
from .outputs import Outputs
from .publishers.base import Fanout
from .servers import Servers
from .sources.base import Inlet
from .streams import stop_on_signals
from .systemd import InheritedSocket, Notifier, Watchdog

log = logging.getLogger(__name__)

SETTLE_SECONDS = 10.0
"""How long readiness waits for sources: one that hangs must not keep the daemon from the rest."""
FINISH_SECONDS = 0.8
"""For the last utterances. With what the outputs take it is two seconds until the end."""
PUBLISH_SECONDS = 0.2
STATUS_SECONDS = 1.0
"""The service manager is told no more often."""
PAST_STREAMS = 1000
"""Ended streams whose beginnings are kept: events of theirs may wait in an output."""


class Daemon:
    """Runs until a signal. It is what the control socket controls, see `control.Controlled`."""

    def __init__(
        self,
        config: DaemonConfig,
        bundle: Bundle,
        behaviour: Behaviour,
        inlets: Sequence[Inlet],
        *,
        reread: Callable[[], DaemonConfig],
        notifier: Notifier,
        watchdog: Watchdog | None = None,
        inherited: Sequence[InheritedSocket] = (),
    ) -> None:
        """`reread` gives the configuration as it stands now, or raises ConfigError."""
        self._config, self._bundle, self._reread = config, bundle, reread
        self._notifier, self._watchdog, self._inherited = notifier, watchdog, inherited
        self._recognizer = bundle.recognizer(behaviour.decoder)
        self._behaviour = behaviour
        self._batcher = Batcher(self._recognizer, watchdog=watchdog)
        self._health = Health()
        self._stop, self._hangup, self._changed = (asyncio.Event() for _ in range(3))
        self._past: dict[str, float] = {}
        self._streams: dict[str, LiveStream] = {}
        self._outputs = Outputs(
            config.outputs, config.keep_audio, self._began, names=len(inlets) > 1
        )
        self._servers = Servers(self)
        for inlet in inlets:
            self._streams[inlet.name] = self._new_stream(inlet, watchdog)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises what could not be opened, or has failed for good."""
        own = list(self._streams.values())
        with stop_on_signals(self._stop), _on_hangup(self._hangup):
            await self._open()
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(stream.run(self._stop)) for stream in own]
                    tasks.append(group.create_task(self._ping()))
                    await self._settle(own)
                    if not self._stop.is_set():
                        self._notifier.ready(self._line())
                    for chore in (self._tell(), self._reload(), self._end_without(own)):
                        tasks.append(group.create_task(chore))
                    await self._stop.wait()
                    self._notifier.stopping()
                    await self._finish()
                    for task in tasks:
                        task.cancel()
            finally:
                await self._close()
        if own and all(stream.failure is not None for stream in own):
            raise NoStreamLeft("every microphone has failed, see above")

    def status(self) -> dict[str, Any]:
        return self._health.document() | {
            "version": __version__,
            "model": self._bundle.manifest.name,
            "decoder": self._config.recognition.decoder or self._bundle.manifest.decoder,
            "grammar": list(self._config.recognition.grammar),
            "subscribers": self._outputs.broadcast.subscribers,
            "lost_finals": self._fanout.lost,
            "batches": self._batcher.batches,
        } | self._outputs.losses()

    def flush(self, stream: str | None) -> None:
        for found in self._named(stream):
            found.flush()

    def mute(self, stream: str | None) -> None:
        for found in self._named(stream):
            found.mute()

    def unmute(self, stream: str | None) -> None:
        for found in self._named(stream):
            found.unmute()

    def talk(self, stream: str | None, *, on: bool) -> None:
        for found in self._named(stream):
            found.talk(on)

    async def hear(self, inlet: Inlet) -> None:
        """See `Controlled.hear`; raises what the stream has failed with.

        RequestError where the daemon is stopped before the end.
        """
        if inlet.name in self._streams:
            raise ConfigError(f"there is a stream called {inlet.name!r} already")
        stream = self._streams[inlet.name] = self._new_stream(inlet)
        try:
            await stream.run(self._stop)
        finally:
            del self._streams[inlet.name], self._health.streams[inlet.name]
            self._past[inlet.name] = stream.began
            if len(self._past) > PAST_STREAMS:
                del self._past[next(iter(self._past))]
            self._changed.set()
        if stream.failure is not None:
            raise stream.failure
        if not stream.whole:
            raise RequestError("asrd was stopped before all was heard")

    async def _open(self) -> None:
        """Everything that others connect to."""
        await self._outputs.open(self._inherited)
        self._fanout = Fanout(self._outputs.publishers)
        self._fanout.start()
        try:
            await self._servers.open(self._config, self._inherited)
        except BaseException:
            await self._fanout.aclose(PUBLISH_SECONDS)
            raise

    async def _close(self) -> None:
        await self._servers.aclose(PUBLISH_SECONDS)
        await self._batcher.aclose()
        await self._fanout.aclose(PUBLISH_SECONDS)
        if self._outputs.recorder is not None:
            await self._outputs.recorder.aclose(PUBLISH_SECONDS)

    async def _settle(self, streams: Sequence[LiveStream]) -> None:
        """Until each source is open, or it is known what it waits for or died of."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                for stream in streams:
                    await stream.settled.wait()

    async def _finish(self) -> None:
        """Let all streams finish their last utterances."""
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                for stream in list(self._streams.values()):
                    await stream.ended.wait()
        except TimeoutError:
            log.error("the last utterance is not finished in time and dropped")

    async def _end_without(self, streams: Sequence[LiveStream]) -> None:
        """A daemon that can hear nothing any more ends, and its manager starts it again."""
        for stream in streams:
            await stream.ended.wait()
        if streams and all(stream.failure is not None for stream in streams):
            self._stop.set()

    async def _ping(self) -> None:
        if self._watchdog is None:
            return
        while True:
            self._watchdog.check()
            await asyncio.sleep(self._watchdog.period)

    async def _tell(self) -> None:
        """Keep the status line fresh."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._notifier.status(self._line())
            await asyncio.sleep(STATUS_SECONDS)

    async def _reload(self) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            self._notifier.reloading()
            await self._reload_once()
            self._notifier.ready(self._line())

    async def _reload_once(self) -> None:
        """Take over what can change while streams run; all of it or nothing."""
        try:
            wanted = await asyncio.to_thread(self._reread)
            config = reloaded(self._config, wanted)
            # a large grammar takes seconds: not in the event loop, which audio waits for
            behaviour = await asyncio.to_thread(load_behaviour, self._bundle, config)
        except (AsrError, OSError) as error:
            log.error("not reloaded, all stays as it was: %s", error)
            return
        except Exception as error:  # task boundary: no file may end a daemon that hears well
            log.error("not reloaded, all stays as it was: %s: %s", type(error).__name__, error)
            return
        log.info("reloaded: %s", changes(self._config, wanted))
        self._config, self._behaviour = config, behaviour
        for stream in self._streams.values():
            stream.configure(self._behaviour)
        set_log_level(config)

    def _new_stream(self, inlet: Inlet, watchdog: Watchdog | None = None) -> LiveStream:
        gate, recorder = self._config.gate, self._outputs.recorder
        longest = self._config.endpointing.rules().hard_limit + gate.pre_roll
        return LiveStream(
            inlet, self._recognizer, self._behaviour, self._batcher, self._publish,
            self._health.stream(inlet.name),
            make_gate=(lambda: Gate(silero_detector, gate.rules())) if gate.enabled else None,
            make_history=(lambda: recorder.history(longest)) if recorder is not None else None,
            watchdog=watchdog, changed=self._changed.set,
        )  # fmt: skip

    async def _publish(self, event: Event) -> None:
        try:
            await self._fanout.publish(event)
        except Exception:  # an output is broken: no stream can go on
            self._stop.set()
            raise

    def _began(self, stream: str) -> float:
        found = self._streams.get(stream)
        return self._past[stream] if found is None else found.began

    def _named(self, stream: str | None) -> list[LiveStream]:
        if stream is None:
            return list(self._streams.values())
        if stream not in self._streams:
            known = ", ".join(self._streams) or "none"
            raise UnknownStreamError(f"no stream is called {stream!r}, only: {known}")
        return [self._streams[stream]]

    def _line(self) -> str:
        """How the streams are, in one line."""
        words = []
        for name, health in self._health.streams.items():
            detail = f" ({health.detail})" if health.detail else ""
            words.append(f"{name}: {health.state}{detail}, {health.utterances} utterances")
        return "; ".join(words) or "no streams"


def set_log_level(config: DaemonConfig) -> None:
    """Of all that the process logs."""
    logging.getLogger().setLevel(config.logging.level.upper())


@contextmanager
def _on_hangup(event: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, event.set)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
