"""Many concurrent streams through one shared model.

The data of a stream flows one way::

    accept -> mono -> resample -> features -> chunks -> step (model, batched) -> decoder
                                                                            -> transcript

`Recognizer` owns what streams share and never changes; `Session` owns what they do not.
Neither knows a clock, a thread or a device: time is a count of frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from .decoding.base import (
    NOTHING,
    Decoder,
    Hypothesis,
    LastTokens,
    TimingConfig,
    stable_words,
    words_of,
)
from .decoding.confidence import with_confidences, word_shares
from .errors import AudioFormatError, ConfigError, SessionClosed
from .features import FeatureExtractor
from .framing import Framer
from .model import AcousticModel, ModelState, split_state, stack_states
from .resample import Resampler
from .transcript import Transcript
from .vocabulary import Vocabulary

DEFAULT_CHUNK_SECONDS = 0.16
"""Audio that one step consumes: what a live stream waits for, and what Python's cost is
shared over. It changes no result."""

MAX_CHANNELS = 32

READINGS = 16
"""Of an utterance, that its words' confidences are judged by."""
MAX_AMPLITUDE = 1e10
"""Nothing real is that loud, not even 32-bit integers taken for floats. Much larger values
overflow the power of a frame, and the state of the stream would be NaN for ever."""


class Recognizer:
    """What all streams share: features, model, vocabulary, decoder settings. Immutable."""

    def __init__(
        self,
        extractor: FeatureExtractor,
        model: AcousticModel,
        vocabulary: Vocabulary,
        decoder: Decoder,
        *,
        chunk_seconds: float = DEFAULT_CHUNK_SECONDS,
        timing: TimingConfig | None = None,
        pieces: Vocabulary | None = None,
    ) -> None:
        """`vocabulary` is of the letters; `pieces` are those that the model writes beside them."""
        if len(vocabulary) != model.config.vocab_size:
            raise ConfigError(
                f"a vocabulary of {len(vocabulary)} tokens does not fit a model of "
                f"{model.config.vocab_size}"
            )
        if pieces is not None and len(pieces) != model.config.pieces:
            raise ConfigError(
                f"{len(pieces)} word pieces do not fit a model of {model.config.pieces}"
            )
        self.extractor, self.model = extractor.eval(), model.eval()
        self.pieces = pieces
        self.vocabulary, self.decoder = vocabulary, decoder
        self.timing = timing or TimingConfig()
        self.check(decoder)
        step_seconds = extractor.config.frame_seconds * model.config.step_frames
        self.chunk_frames = max(1, round(chunk_seconds / step_seconds)) * model.config.step_frames

    @property
    def sample_rate(self) -> int:
        """The rate (Hz) that features are computed at; sessions resample to it."""
        return self.extractor.config.sample_rate

    @property
    def frame_seconds(self) -> float:
        """Duration of one output frame."""
        return self.extractor.config.frame_seconds * self.model.config.subsampling

    @property
    def latency(self) -> float:
        """Seconds of audio between a sound and the step that can use all of it, at most."""
        config = self.extractor.config
        lookahead = self.model.config.lookahead * self.model.config.step_frames
        return (
            (self.chunk_frames + lookahead) * config.frame_seconds
            + (config.n_fft - config.hop_length) / config.sample_rate
        )

    def new_session(
        self, sample_rate: int, channels: int = 1, *, decoder: Decoder | None = None
    ) -> Session:
        """A fresh stream of audio; AudioFormatError for impossible rates or channels.

        `decoder` takes the place of the recogniser's for this stream alone.
        """
        return Session(self, sample_rate, channels, decoder or self.decoder)

    @torch.inference_mode()
    def step(self, sessions: Sequence[Session]) -> None:
        """Advance every given session, each of them `ready`, by one chunk in one batch.

        All or nothing: if the model raises, no session has changed.
        """
        if not sessions:
            return
        features = torch.stack([s._chunks.peek() for s in sessions])  # (batch, frames, n_mels)
        state = stack_states([s._state for s in sessions])
        pieces = None
        if any(s.reads_pieces for s in sessions):
            letters, pieces, state = self.model.read_both(features, state)
        else:
            letters, state = self.model(features, state)
        for i, (session, new) in enumerate(zip(sessions, split_state(state), strict=True)):
            session._commit(letters[i], None if pieces is None else pieces[i], new)

    def check(self, decoder: Decoder) -> None:
        """Raises ConfigError for a decoder of word pieces where the model writes none."""
        if decoder.pieces and self.pieces is None:
            raise ConfigError("this decoder reads word pieces, and the model writes none")

    def vocabulary_of(self, hypothesis: Hypothesis) -> Vocabulary:
        """Of the tokens of a hypothesis."""
        return self.pieces if hypothesis.pieces and self.pieces else self.vocabulary


class Session:
    """One audio stream: its buffers, its model state, its current utterance. One owner."""

    def __init__(
        self, recognizer: Recognizer, sample_rate: int, channels: int, decoder: Decoder
    ) -> None:
        if not 1 <= channels <= MAX_CHANNELS:
            raise AudioFormatError(f"{channels} channels are not in 1..{MAX_CHANNELS}")
        self._recognizer, self._channels = recognizer, channels
        frames = recognizer.chunk_frames
        self._resampler = Resampler(sample_rate, recognizer.sample_rate)
        self._features = recognizer.extractor.new_stream()
        self._chunks = Framer(frames, frames, width=recognizer.extractor.config.n_mels)
        self._state: ModelState = recognizer.model.initial_state()
        self.decoder = decoder
        """Settings of the search; another one takes effect at the next utterance."""
        self._begin(NOTHING)
        self._heard = False
        self._feature_frames = 0
        self._skip = recognizer.model.config.delay
        self._frames_due: int | None = None
        self.chunks_taken = 0
        """Chunks that steps have taken: tells after a failed step who was not reached."""
        self.frame = 0
        """Output frames decoded so far."""
        self.utterance_start = 0
        """Output frame at which the current utterance began."""

    @property
    def ready(self) -> bool:
        """Whether a chunk waits for `Recognizer.step`."""
        return self._chunks.ready > 0

    @property
    def finished(self) -> bool:
        """Whether `finish` was called and everything has been stepped."""
        return self._frames_due is not None and not self.ready

    @property
    def seconds_taken(self) -> float:
        """Audio from the stream's start that the steps so far have waited for."""
        config = self._recognizer.extractor.config
        frames = self.chunks_taken * self._recognizer.chunk_frames
        samples = (frames - 1) * config.hop_length + config.n_fft if frames else 0
        return samples / config.sample_rate

    def accept(self, samples: NDArray[np.float32]) -> None:
        """Take float samples in [-1, 1] shaped (count,) or (count, channels), any count.

        Raises AudioFormatError for another shape or type and for values that are not finite
        or absurdly large, and SessionClosed after `finish`; the session has not changed then.
        """
        if self._frames_due is not None:
            raise SessionClosed("audio after finish()")
        mono = self._mono(samples)
        self._heard = self._heard or len(mono) > 0
        self._push(self._resampler.push(mono))

    def finish(self) -> None:
        """No more audio: release what resampler, look-ahead and chunking hold. Idempotent."""
        if self._frames_due is not None:
            return
        if self._heard:
            self._push(self._resampler.flush())
            self._push(np.zeros(self._recognizer.extractor.config.tail_samples, np.float32))
        model = self._recognizer.model.config
        steps = -(-self._feature_frames // model.step_frames)
        self._frames_due = steps * model.emissions
        if steps:
            frames = (steps + model.lookahead) * model.step_frames - self._feature_frames
            total = self._chunks.pending + frames
            self._chunks.pad(frames + -total % self._recognizer.chunk_frames)

    def hypothesis(self, final: bool = False) -> Hypothesis:
        """The best reading of the current utterance, or as if it ended here. Pure."""
        return self._search.hypothesis(final)

    def transcript(self, final: bool = False) -> Transcript:
        """The same as words with times. Pure."""
        unit, start = self._recognizer.frame_seconds, self.utterance_start
        config = self._confidence if final else None
        # read once: a grammar interprets its sentence at each final reading
        readings = (
            [self.hypothesis(final)] if config is None else self._search.n_best(READINGS, final)
        )
        best = readings[0]
        vocabulary = self._recognizer.vocabulary_of(best)
        shift = self._recognizer.timing.of(best.pieces)
        words = words_of(best, vocabulary, unit, start * unit, shift)
        if words and config is not None:
            words = with_confidences(words, word_shares(readings, vocabulary), config)
        stable = len(words) if final else stable_words(best, vocabulary)
        return Transcript(
            words, start * unit, self.frame * unit, stable, best.understood, best.interpretation,
            best.distance, best.wake,
        )

    def start_utterance(self) -> None:
        """Begin a new utterance here; the acoustic state is carried on.

        The last tokens go along, so that a sound which spans the cut is not written twice.
        """
        self._begin(self._search.last_tokens)
        self.utterance_start = self.frame

    def _begin(self, last: LastTokens) -> None:
        self._recognizer.check(self.decoder)
        self.reads_pieces = self.decoder.pieces
        """Whether the search of the current utterance asks for the model's word pieces."""
        self._search = self.decoder.new_stream(last)
        self._confidence = self.decoder.confidence

    def _mono(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        samples = np.asarray(samples)
        row = samples.ndim == 1 and self._channels == 1
        if not row and samples.shape != (*samples.shape[:1], self._channels):
            raise AudioFormatError(
                f"samples shaped {samples.shape}, expected (count, {self._channels})"
            )
        if samples.dtype.kind != "f":
            raise AudioFormatError(f"samples of type {samples.dtype}, expected float in [-1, 1]")
        if not np.isfinite(samples).all():
            raise AudioFormatError("samples hold NaN or infinite values")
        loudest = np.abs(samples).max(initial=0.0)
        if loudest > MAX_AMPLITUDE:
            raise AudioFormatError(f"samples as large as {loudest:.3g}, expected float in [-1, 1]")
        mono = samples if row else samples.mean(axis=1)
        # torch warns of arrays that cannot be written to, such as np.frombuffer(bytes)
        return np.require(mono, np.float32, ["C", "W"])

    def _push(self, samples: NDArray[np.float32]) -> None:
        features = self._features.push(torch.from_numpy(samples))
        self._feature_frames += len(features)
        self._chunks.push(features)

    def _commit(
        self, letters: torch.Tensor, pieces: torch.Tensor | None, state: ModelState
    ) -> None:
        self._chunks.drop()
        self.chunks_taken += 1
        self._state = state
        first = min(self._skip, len(letters))
        self._skip -= first
        end = len(letters)
        if self._frames_due is not None:  # the rest belongs to padding
            end = min(end, first + max(0, self._frames_due - self.frame))
        self.frame += end - first
        self._search.advance(letters[first:end], None if pieces is None else pieces[first:end])
