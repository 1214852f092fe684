"""Streamed and whole, by two routes: what the equivalence tests compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle, groupby
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr.decoding.base import NOTHING, Hypothesis, LastTokens, output_read
from asr.decoding.greedy import GreedyDecoder, GreedyStream
from asr.features import FeatureConfig, FeatureExtractor
from asr.model import AcousticModel, ModelConfig
from asr.streaming import Recognizer, Session
from asr.vocabulary import BLANK_ID, Vocabulary

Samples = NDArray[np.float32]

CELLS = ("rnn_tanh", "rnn_relu", "gru", "lstm")
VARIANTS: dict[str, dict[str, int]] = {
    "plain": {},
    "look-ahead": {"lookahead": 2},
    "no stacking": {"stack": 1, "emissions": 1},
    "wide steps": {"stack": 3, "emissions": 4, "lookahead": 1},
    "word pieces": {"pieces": 18},
}
PIECES = Vocabulary(("<blank>", "▁", "▁a", "▁be", *"abcdefghijklmn"))
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Heard:
    """What came out of a stream: log-probs (frames, vocab) and tokens."""

    log_probs: Tensor
    tokens: tuple[int, ...]


class RecordingStream(GreedyStream):
    """Keeps the log-probs that it was given."""

    def __init__(self, last_token: int, pieces: bool) -> None:
        super().__init__(last_token, pieces)
        self.given: list[Tensor] = []

    def advance(self, letters: Tensor, pieces: Tensor | None = None) -> None:
        self.given.append(output_read(letters, pieces, self._pieces).clone())
        super().advance(letters, pieces)


class RecordingDecoder(GreedyDecoder):
    """Greedy search that can be asked what the model said."""

    def new_stream(self, last: LastTokens = NOTHING) -> RecordingStream:
        return RecordingStream(last.of(self.pieces), self.pieces)


@lru_cache
def babbler(cell: str = "lstm", variant: str = "plain", chunk_seconds: float = 0.16) -> Recognizer:
    """Random weights, so large that all kinds of tokens come out and every state matters."""
    shape: dict[str, Any] = {"conv_channels": 4, "hidden_size": 24, "n_layers": 2}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AcousticModel(ModelConfig(cell=cell, **shape | VARIANTS[variant]))  # type: ignore[arg-type]
        for output in (model.output, model.pieces):
            if output is not None:
                nn.init.normal_(output.weight, std=1.0)
        if model.row_conv is not None:
            nn.init.normal_(model.row_conv.weight)
    extractor = FeatureExtractor(FeatureConfig())
    extractor.mean.fill_(-3.0)
    extractor.std.fill_(2.0)
    pieces = PIECES if model.pieces is not None else None
    return Recognizer(
        extractor, model, Vocabulary.letters(), RecordingDecoder(pieces=pieces is not None),
        chunk_seconds=chunk_seconds, pieces=pieces,
    )


def recording(recognizer: Recognizer, *, pieces: bool | None = None) -> Recognizer:
    """The same recogniser with a decoder that can be asked what the model said.

    It reads letters or `pieces`; by default what the recogniser's decoder reads.
    """
    if pieces is None:
        pieces = recognizer.decoder.pieces
    return Recognizer(
        recognizer.extractor, recognizer.model, recognizer.vocabulary,
        RecordingDecoder(pieces=pieces), pieces=recognizer.pieces,
    )


def babble(count: int, sample_rate: int = 16_000, channels: int = 0, seed: int = 0) -> Samples:
    """Noise in syllables, with a pause; (count,), or (count, channels) if there are any."""
    random = np.random.default_rng(seed)
    time = np.arange(count) / sample_rate
    loudness = np.abs(np.sin(2 * np.pi * (2.3 + seed) * time)) * (np.sin(5 * time + seed) > -0.7)
    hum = np.sin(2 * np.pi * (300 + 200 * np.sin(9 * time)) * time)
    shape = (count, channels) if channels else (count,)
    noise = random.normal(size=shape) * 0.1
    wave: NDArray[np.float64] = (noise.T + 0.2 * hum) * loudness
    return wave.T.astype(np.float32)


def packets(samples: Samples, sizes: Iterable[int]) -> Iterator[Samples]:
    """The samples in packets of the given sizes, over and over (not all of them 0)."""
    at = 0
    for size in cycle(sizes):
        if at >= len(samples):
            return
        yield samples[at : at + size]
        at += size


def open_session(recognizer: Recognizer, samples: Samples, sample_rate: int = 16_000) -> Session:
    """A session fit for samples of this shape."""
    return recognizer.new_session(sample_rate, 1 if samples.ndim == 1 else samples.shape[1])


def drain(recognizer: Recognizer, session: Session) -> None:
    """Step while something is ready."""
    while session.ready:
        recognizer.step([session])


def heard(session: Session) -> Heard:
    """What the current utterance of a session has heard so far."""
    stream = session._search
    assert isinstance(stream, RecordingStream)
    best = stream.hypothesis()
    width = len(session._recognizer.vocabulary_of(best))
    return Heard(torch.cat([torch.zeros(0, width), *stream.given]), best.tokens)


def streamed(
    recognizer: Recognizer, samples: Samples, sizes: Sequence[int] = (1600,),
    sample_rate: int = 16_000,
) -> Heard:
    """Alone, in packets, stepping as soon as possible."""
    session = open_session(recognizer, samples, sample_rate)
    for packet in packets(samples, sizes):
        session.accept(packet)
        drain(recognizer, session)
    session.finish()
    drain(recognizer, session)
    assert session.finished
    return heard(session)


def forward(recognizer: Recognizer, features: Tensor) -> Tensor:
    """Log-probs (batch, frames, vocab) of the output that the recogniser's decoder reads."""
    model = recognizer.model
    if recognizer.decoder.pieces:
        return model.read_both(features)[1].detach()
    log_probs: Tensor = model(features)[0].detach()
    return log_probs


def whole(recognizer: Recognizer, samples: Samples, sample_rate: int = 16_000) -> Heard:
    """The training forward: everything computed in one go, with none of the streaming code."""
    extractor, model = recognizer.extractor, recognizer.model
    audio = samples if samples.ndim == 1 else samples.mean(axis=1)
    if sample_rate != recognizer.sample_rate:
        audio = soxr.resample(audio, sample_rate, recognizer.sample_rate, quality="HQ")
    tail = extractor.config.tail_samples if len(samples) else 0
    features = extractor(torch.tensor([*audio, *[0.0] * tail]))  # (frames, n_mels)
    steps = -(-len(features) // model.config.step_frames)
    if steps == 0:
        nothing = Hypothesis(pieces=recognizer.decoder.pieces)
        return Heard(torch.zeros(0, len(recognizer.vocabulary_of(nothing))), ())
    missing = (steps + model.config.lookahead) * model.config.step_frames - len(features)
    features = nn.functional.pad(features, (0, 0, 0, missing))
    log_probs = forward(recognizer, features[None])[0]
    delay = model.config.lookahead * model.config.emissions
    log_probs = log_probs[delay : delay + steps * model.config.emissions]
    best = [token for token, _ in groupby(log_probs.argmax(-1).tolist())]
    return Heard(log_probs, tuple(token for token in best if token != BLANK_ID))


def assert_same(found: Heard, expected: Heard) -> None:
    """Log-probs within the tolerance, tokens identical."""
    assert found.log_probs.shape == expected.log_probs.shape
    torch.testing.assert_close(found.log_probs, expected.log_probs, rtol=0, atol=TOLERANCE)
    assert found.tokens == expected.tokens
