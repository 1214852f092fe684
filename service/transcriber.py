"""One stream, sans I/O: audio in, transcript events out.

Whoever drives it steps `session` (alone or in a batch) while that is ready and asks for
`events` after each step::

    transcriber.accept(samples)
    while transcriber.session.ready:
        recognizer.step([transcriber.session])
        publish(transcriber.events())

and at the end calls `finish`, steps once more what became ready, and asks for
`last_events`. The same is due where `flushing` asks for it after an `accept`, and then
`start_anew`. Microphones, clients and files all take this path.

`mute`, `unmute`, `talk`, `flush_utterance` and `configure` may be called at any time, also
while the session is being stepped: they leave it alone until the next `accept`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from asr.decoding.base import Decoder, Hypothesis, Word
from asr.streaming import Recognizer
from asr.vocabulary import Vocabulary

from .endpointing import EndpointConfig, is_endpoint
from .events import Event, Final, Partial
from .gate import Gate
from .history import AudioHistory
from .numbers import Rewrite
from .wake import Ear, Wake


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
        decoder: Decoder | None = None,
        history: AudioHistory | None = None,
        wake: Wake | None = None,
    ) -> None:
        """AudioFormatError for a rate or a count of channels that no session takes.

        Without `partials` only finals are told, which saves rendering text at each step.
        `rewrite` changes the words of finals, as `service.numbers` does. `gate` keeps silence
        from the network, `history` keeps the audio of finals; both belong to this stream alone.
        `decoder` takes the place of the recogniser's. With `wake` commands count only behind a
        wake phrase.
        """
        self._ear = None if wake is None else Ear(wake)
        self._recognizer, self._channels, self._decoder = recognizer, channels, decoder
        self._sample_rate = sample_rate
        self._origin = 0.0
        self._heard = 0  # samples since the origin
        self._fresh_session(0.0)
        self._gate = gate
        if gate is not None:
            gate.start(sample_rate)
        self._history = history
        if history is not None:
            history.start(sample_rate, 0.0)
        self._stream, self._partials, self._rewrite = stream, partials, rewrite
        self._endpoint = endpoint or EndpointConfig()
        self._unit = recognizer.frame_seconds
        self._utterance = 0
        self._shown = ""
        self._muted = self._talking = self._outdated = False
        self.flushing = False
        """Whether the utterance is to be finished before more audio comes."""

    def accept(self, samples: NDArray[np.float32]) -> None:
        """Take float samples shaped (count,) or (count, channels); see `Session.accept`."""
        if self._outdated and not self._muted:
            self.start_anew()
        self._heard += len(samples)
        if self._muted:
            return
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
        self._sample_rate, self._origin, self._heard = sample_rate, at, 0
        self._outdated, self.flushing, self._shown = self._muted, False, ""
        if self._gate is not None:
            self._gate.start(sample_rate)
        if self._history is not None:
            self._history.start(sample_rate, at)
        self._fresh_session(at)

    def start_anew(self) -> None:
        """Go on with fresh acoustics and without a break; what was not finished is dropped."""
        self.resume(self._sample_rate, self._origin + self._heard / self._sample_rate)

    def flush_utterance(self) -> None:
        """Ask for the end of the utterance without waiting for silence."""
        closed = self._gate is not None and not self._gate.is_open
        self.flushing = not (self._outdated or closed)

    def mute(self) -> None:
        """Throw audio away, also what has not been finished; nothing is told meanwhile."""
        self._muted = self._outdated = True
        self.flushing = False

    def unmute(self) -> None:
        """Hear again, with fresh acoustics."""
        self._muted = False

    def talk(self, on: bool) -> None:
        """Push-to-talk: `on`, all is speech and no silence ends it; then it is finished at once."""
        if self._talking and not on:
            self.flush_utterance()
        self._talking = on
        if self._gate is not None:
            self._gate.held_open = on

    def configure(
        self, endpoint: EndpointConfig, decoder: Decoder, wake: Wake | None = None
    ) -> None:
        """Other rules from now on, another search from the next utterance on."""
        if self._history is not None:
            self._history.lengthen(endpoint.hard_limit - self._endpoint.hard_limit)
        self._endpoint, self._decoder = endpoint, decoder
        if wake is None or self._ear is None:
            self._ear = None if wake is None else Ear(wake)
        else:
            self._ear.configure(wake)
        self.session.decoder = decoder if self._ear is None else self._ear.decoder(self._now)

    def events(self) -> list[Event]:
        """What is due after one step of the session."""
        if self._outdated:
            return []
        best = self.session.hypothesis()
        if not best.tokens:
            # a single short word may count for less than none while longer ones begin like it
            best = self.session.hypothesis(final=True)
            if not best.tokens:
                self._choose_ear()
        detected, wordless = self._detected_silence()
        if self._ends(best, detected, wordless):
            events = self._close()
            noisy = best.tokens and wordless >= self._endpoint.silence_after_speech
            if self._gate is not None and noisy and not self._talking:
                # what the network went on to hear was noise, and would be one word after another
                self._gate.close()
                self._fresh_session(self._offset)
            return events
        rests = not (best.tokens or self.session.ready or self._talking)
        if self._gate is not None and rests:
            self._gate.close_if_silent()
        return self._partial() if self._partials else []

    def last_events(self) -> list[Event]:
        """What is due once the session has finished: the utterance that was still open."""
        return [] if self._outdated else self._close()

    def _fresh_session(self, offset: float) -> None:
        self._offset = offset
        self.session = self._recognizer.new_session(
            self._sample_rate, self._channels, decoder=self._search_at(offset)
        )

    def _search_at(self, time: float) -> Decoder | None:
        """How to search what begins then; None: as the recogniser does."""
        return self._decoder if self._ear is None else self._ear.decoder(time)

    @property
    def _now(self) -> float:
        """The stream's time up to which it has been decoded."""
        return self._offset + self.session.frame * self._unit

    def _choose_ear(self) -> None:
        """Where nothing has been said when the time for commands runs out, they count no more."""
        if self._ear is not None and self._ear.decoder(self._now) is not self.session.decoder:
            self._next_utterance()

    def _next_utterance(self) -> None:
        if self._ear is not None:
            self.session.decoder = self._ear.decoder(self._now)
        self.session.start_utterance()

    def _detected_silence(self) -> tuple[float, float]:
        """Seconds without speech, by the detector, before what has been decoded.

        And those of them in which no word can still be written.
        """
        if self._gate is None:
            return math.inf, 0.0
        time = self._now - self._origin
        return self._gate.silence_at(time), self._gate.wordless_at(time)

    def _ends(self, best: Hypothesis, detected: float, wordless: float) -> bool:
        last = best.tokens[-1] if best.tokens else None
        if self._talking and last is not None:
            return best.length * self._unit >= self._endpoint.hard_limit
        vocabulary = self._recognizer.vocabulary_of(best)
        silent = silent_frames(best, vocabulary) * self._unit
        return is_endpoint(
            self._endpoint,
            utterance=best.length * self._unit,
            # noise may be babbled into words: the detector knows better
            trailing_silence=silent if last is None else max(silent, wordless),
            detected_silence=detected,
            has_speech=last is not None,
            between_words=last is not None and vocabulary.is_boundary(last),
            complete=best.accepting and not best.continues,
        )

    def _partial(self) -> list[Event]:
        transcript = self.session.transcript()
        words, text = self._timed(transcript.words), transcript.text
        if text == self._shown:
            return []
        self._shown = text
        start, end = (words[0].start, words[-1].end) if words else (self._now, self._now)
        return [Partial(self._stream, self._utterance, text, start, end, transcript.stable)]

    def _close(self) -> list[Event]:
        transcript = self.session.transcript(final=True)
        events: list[Event] = []
        if transcript.words:
            words = self._timed(transcript.words)
            if self._ear is not None and transcript.wake:
                self._ear.open(words[transcript.wake - 1].end)
            if self._rewrite is not None:
                words = self._rewrite(words)
            final = Final(
                self._stream, self._utterance, words, transcript.understood,
                transcript.interpretation, transcript.distance, transcript.wake > 0,
            )  # fmt: skip
            if self._history is not None:
                self._history.keep(final)
            events = [final]
            self._utterance += 1
        elif self._shown:  # the search took back what had been shown
            events = [Partial(self._stream, self._utterance, "", self._now, self._now)]
        self._shown = ""
        self._next_utterance()
        return events

    def _timed(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        """The session's words with the stream's times."""
        if not self._offset:
            return words
        return tuple(
            replace(w, start=self._offset + w.start, end=self._offset + w.end) for w in words
        )


def silent_frames(best: Hypothesis, vocabulary: Vocabulary) -> int:
    """Output frames since the last letter: the mark behind a word is written in silence."""
    last = len(best.tokens) - 1
    while last >= 0 and vocabulary.is_boundary(best.tokens[last]):
        last -= 1
    if last < 0 or last == len(best.tokens) - 1:
        return best.trailing_blanks
    return best.length - 1 - best.frames[last]
