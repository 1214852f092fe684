"""Transcribe many recordings at once: blocks in, results in order, bounded memory.

Files go through the very path of live audio. Up to `streams` of them are open at a time;
in each round every open one reads blocks until it has a chunk for the model, at most one
block ahead, and all chunks are computed as one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from asr.audio import AudioReader, open_audio, read_pcm
from asr.errors import AsrError, AudioFileError
from asr.streaming import Recognizer

from .endpointing import EndpointConfig
from .events import Event, Final
from .numbers import Rewrite
from .transcriber import StreamTranscriber

DEFAULT_STREAMS = 8


class BlockSource(Protocol):
    """Anything that audio can be read from, block by block."""

    @property
    def name(self) -> str:
        """What results, events and messages call it."""
        ...

    def open(self) -> AbstractContextManager[AudioReader]:
        """Start reading. AsrError or OSError, here or while reading, fail this source only."""
        ...


@dataclass(frozen=True)
class FileSource:
    """An audio file."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def open(self) -> AbstractContextManager[AudioReader]:
        return open_audio(self.path)


@dataclass(frozen=True)
class PcmSource:
    """Raw s16le PCM from a binary stream, such as standard input."""

    stream: BinaryIO
    sample_rate: int
    channels: int = 1
    name: str = "-"

    def open(self) -> AbstractContextManager[AudioReader]:
        # the stream belongs to its giver and stays open
        return nullcontext(read_pcm(self.stream, self.sample_rate, self.channels))


@dataclass(frozen=True)
class SourceResult:
    """What one source gave."""

    name: str
    finals: tuple[Final, ...]
    """Utterances in order, with all their words. Silence has none."""
    seconds: float
    """Duration of the audio that was read."""
    error: AsrError | OSError | None
    """Why reading ended early, or None; `finals` then hold what could be understood."""

    @property
    def text(self) -> str:
        """All words as one line."""
        return " ".join(final.text for final in self.finals)

    @property
    def reason(self) -> str | None:
        """The error as a phrase that does not repeat the source's name."""
        if isinstance(self.error, AudioFileError):
            return self.error.reason
        return str(self.error) if self.error is not None else None


def transcribe_sources(
    recognizer: Recognizer,
    sources: Sequence[BlockSource],
    *,
    streams: int = DEFAULT_STREAMS,
    endpoint: EndpointConfig | None = None,
    on_event: Callable[[Event], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
    on_heard: Callable[[Event, float], None] | None = None,
    rewrite: Rewrite | None = None,
) -> Iterator[SourceResult]:
    """Transcribe all sources, `streams` at a time; one result each, in the sources' order.

    `on_event` gets partials and finals as they arise, the streams interleaved.
    `on_progress` gets the number of sources done, the open ones counted by the share that
    has been read. `on_heard` gets the events with the seconds of audio that a live stream
    would have waited for, from its start, to tell each of them. `rewrite` changes the words of
    finals. A source that fails harms no other: its result holds the error. Errors of the model
    itself are raised. Closing the iterator closes what is open.
    """
    waiting = deque(enumerate(sources))
    open_streams: dict[int, _OpenStream] = {}
    results: dict[int, SourceResult] = {}
    yielded = 0
    with ExitStack() as stack:
        stack.callback(lambda: [stream.close() for stream in open_streams.values()])
        while yielded < len(sources):
            while waiting and len(open_streams) < streams:
                index, source = waiting.popleft()
                open_streams[index] = _OpenStream(
                    source, recognizer, endpoint, on_event, on_heard, rewrite
                )
            for stream in open_streams.values():
                stream.read_until_ready()
            ready = [stream for stream in open_streams.values() if stream.ready]
            recognizer.step([stream.transcriber.session for stream in ready if stream.transcriber])
            for stream in ready:
                stream.take_events()
            for index in [index for index, stream in open_streams.items() if not stream.ready]:
                if open_streams[index].ended:
                    results[index] = open_streams.pop(index).close()
            if on_progress is not None:
                shares = sum(stream.share for stream in open_streams.values())
                on_progress(yielded + len(results) + shares)
            while yielded in results:
                yield results.pop(yielded)
                yielded += 1


class _OpenStream:
    """A source while it is read: its reader, its transcriber, what came out so far."""

    def __init__(
        self,
        source: BlockSource,
        recognizer: Recognizer,
        endpoint: EndpointConfig | None,
        on_event: Callable[[Event], None] | None,
        on_heard: Callable[[Event, float], None] | None,
        rewrite: Rewrite | None,
    ) -> None:
        self._name, self._on_event, self._on_heard = source.name, on_event, on_heard
        self._finals: list[Final] = []
        self._error: AsrError | OSError | None = None
        self._samples = 0
        self._context = ExitStack()
        self.ended = False
        self.transcriber: StreamTranscriber | None = None
        try:
            self._reader = self._context.enter_context(source.open())
            self.transcriber = StreamTranscriber(
                source.name,
                recognizer,
                self._reader.sample_rate,
                self._reader.channels,
                endpoint=endpoint,
                partials=on_event is not None or on_heard is not None,
                rewrite=rewrite,
            )
        except (AsrError, OSError) as error:
            self._error, self.ended = error, True

    @property
    def ready(self) -> bool:
        """Whether a chunk waits for the model."""
        return self.transcriber is not None and self.transcriber.session.ready

    @property
    def seconds(self) -> float:
        """Duration of the audio read so far."""
        return self._samples / self._reader.sample_rate if self._samples else 0.0

    @property
    def share(self) -> float:
        """How much of the source has been read, from 0 to 1; 0 where nobody knows."""
        total = self._reader.seconds
        return min(1.0, self.seconds / total) if total else 0.0

    def read_until_ready(self) -> None:
        """Read blocks until a chunk is ready or nothing follows; at most one block ahead."""
        while self.transcriber is not None and not self.ended and not self.ready:
            try:
                block = next(self._reader.blocks, None)
                if block is not None:
                    self.transcriber.accept(block)
                    self._samples += len(block)
            except (AsrError, OSError) as error:
                self._error, block = error, None
            if block is None:
                self.ended = True
                self.transcriber.finish()

    def take_events(self) -> None:
        """Collect what the last step brought."""
        if self.transcriber is not None:
            self._tell(self.transcriber.events())

    def close(self) -> SourceResult:
        """Stop reading; the result holds everything understood so far."""
        self._context.close()
        if self.transcriber is not None:
            self._tell(self.transcriber.last_events())
        return SourceResult(self._name, tuple(self._finals), self.seconds, self._error)

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Final):
                self._finals.append(event)
            if self._on_event is not None:
                self._on_event(event)
            if self._on_heard is not None and self.transcriber is not None:
                self._on_heard(event, self.transcriber.session.seconds_taken)
