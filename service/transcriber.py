"""One stream, sans I/O: audio in, transcript events out.

Whoever drives it steps `session` (alone or in a batch) while that is ready and asks for
`events` after each step::

    transcriber.accept(samples)
    while transcriber.session.ready:
        recognizer.step([transcriber.session])
        publish(transcriber.events())

and at the end calls `finish`, steps once more what became ready, and asks for
`last_events`. Microphones, clients and files all take this path.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from asr.decoding.base import Hypothesis, Word
from asr.streaming import Recognizer

from .endpointing import EndpointConfig, is_endpoint
from .events import Event, Final, Partial
from .gate import Gate
from .history import AudioHistory
from .numbers import Rewrite


class StreamTranscriber:
    """Cuts one session into utterances and tells what is new in them. One owner."""

    def __init__(
        self,
        stream: str,
        recognizer: Recognizer,
        sample_rate: int,
        channels: int = 1,
        *,
        endpoint: EndpointConfig | None = None,
        partials: bool = True,
        rewrite: Rewrite | None = None,
        gate: Gate | None = None,
        history: AudioHistory | None = None,
    ) -> None:
        """AudioFormatError for a rate or a count of channels that no session takes.

        Without `partials` only finals are told, which saves rendering text at each step.
        `rewrite` changes the words of finals, as `service.numbers` does. `gate` keeps silence
        from the network, `history` keeps the audio of finals; both belong to this stream alone.
        """
        self.session = recognizer.new_session(sample_rate, channels)
        self._recognizer, self._channels = recognizer, channels
        self._sample_rate = sample_rate
        self._origin = self._offset = 0.0
        self._gate = gate
        if gate is not None:
            gate.start(sample_rate)
        self._history = history
        if history is not None:
            history.start(sample_rate, 0.0)
        self._stream, self._partials, self._rewrite = stream, partials, rewrite
        self._endpoint = endpoint or EndpointConfig()
        self._vocabulary, self._unit = recognizer.vocabulary, recognizer.frame_seconds
        self._utterance = 0
        self._shown = ""

    def accept(self, samples: NDArray[np.float32]) -> None:
        """Take float samples shaped (count,) or (count, channels); see `Session.accept`."""
        if self._gate is None:
            self.session.accept(samples)
        else:
            for begins, passed in self._gate.push(samples):
                if begins is not None:
                    self._fresh_session(self._origin + begins)
                self.session.accept(passed)
        if self._history is not None:
            self._history.push(samples)

    def finish(self) -> None:
        """No more audio: what look-ahead and chunking hold becomes ready."""
        self.session.finish()

    def resume(self, sample_rate: int, at: float) -> None:
        """Go on behind an interruption, with fresh acoustics, `at` seconds into the stream."""
        self._sample_rate, self._origin = sample_rate, at
        if self._gate is not None:
            self._gate.start(sample_rate)
        if self._history is not None:
            self._history.start(sample_rate, at)
        self._fresh_session(at)

    def events(self) -> list[Event]:
        """What is due after one step of the session."""
        best = self.session.hypothesis()
        silence = self._detected_silence()
        if self._ends(best, silence):
            events = self._close()
            if self._gate is not None and silence >= self._endpoint.silence_after_speech:
                # what the network went on to hear was noise, and would be one word after another
                self._gate.close()
                self._fresh_session(self._offset)
            return events
        if self._gate is not None and not best.tokens and not self.session.ready:
            self._gate.close_if_silent()
        return self._partial() if self._partials else []

    def last_events(self) -> list[Event]:
        """What is due once the session has finished: the utterance that was still open."""
        return self._close()

    def _fresh_session(self, offset: float) -> None:
        self.session = self._recognizer.new_session(self._sample_rate, self._channels)
        self._offset = offset

    def _detected_silence(self) -> float:
        """Seconds without speech, by the detector, before what has been decoded."""
        if self._gate is None:
            return 0.0
        now = self._offset - self._origin + self.session.frame * self._unit
        return self._gate.silence_at(now)

    def _ends(self, best: Hypothesis, detected_silence: float) -> bool:
        last = best.tokens[-1] if best.tokens else None
        return is_endpoint(
            self._endpoint,
            utterance=best.length * self._unit,
            # noise may be babbled into words: the detector knows better
            trailing_silence=max(best.trailing_blanks * self._unit, detected_silence),
            has_speech=last is not None,
            between_words=last is not None and self._vocabulary.is_boundary(last),
            complete=best.accepting and not best.continues,
        )

    def _partial(self) -> list[Event]:
        transcript = self.session.transcript()
        words, text = self._timed(transcript.words), transcript.text
        if text == self._shown:
            return []
        self._shown = text
        now = self._offset + self.session.frame * self._unit
        start, end = (words[0].start, words[-1].end) if words else (now, now)
        return [Partial(self._stream, self._utterance, text, start, end, transcript.stable)]

    def _close(self) -> list[Event]:
        transcript = self.session.transcript(final=True)
        events: list[Event] = []
        if transcript.words:
            words = self._timed(transcript.words)
            if self._rewrite is not None:
                words = self._rewrite(words)
            final = Final(
                self._stream, self._utterance, words, transcript.understood,
                transcript.interpretation,
            )  # fmt: skip
            if self._history is not None:
                self._history.keep(final)
            events = [final]
            self._utterance += 1
        elif self._shown:  # the search took back what had been shown
            events = self._partial()
        self._shown = ""
        self.session.start_utterance()
        return events

    def _timed(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        """The session's words with the stream's times."""
        if not self._offset:
            return words
        return tuple(
            replace(w, start=self._offset + w.start, end=self._offset + w.end) for w in words
        )
