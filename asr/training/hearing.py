"""What the network says to recordings, kept, so that many searches can be tried on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.audio import open_audio
from asr.bundle import Bundle
from asr.decoding.base import NOTHING, Decoder, DecoderStream, Hypothesis, LastTokens
from asr.manifest import Recording, SpokenWord, spoken_words
from asr.text import normalise

CHUNK_FRAMES = 4
CHUNK_SECONDS = 0.64
"""Nobody waits: larger steps cost half."""


@dataclass(frozen=True)
class Heard:
    """A recording as the network hears it."""

    text: str
    letters: Tensor
    """Log-probs (frames, vocab), those of `Recognizer`."""
    words: tuple[SpokenWord, ...] = ()
    """With times, where the manifest tells them."""
    pieces: Tensor | None = None
    """Log-probs of the word pieces, where the model writes some."""

    @property
    def frames(self) -> int:
        """Of the network's output."""
        return len(self.letters)


class _Listener:
    """A decoder that searches nothing and keeps what the network says."""

    confidence = None
    last_tokens = NOTHING

    def __init__(self, bundle: Bundle) -> None:
        self.pieces = bundle.pieces is not None
        self.letters = [torch.zeros(0, len(bundle.vocabulary))]
        self.written = [torch.zeros(0, bundle.model.config.pieces)]

    def new_stream(self, last: LastTokens = NOTHING) -> _Listener:
        return self

    def advance(self, letters: Tensor, pieces: Tensor | None = None) -> None:
        self.letters.append(letters.clone())
        if pieces is not None:
            self.written.append(pieces.clone())

    def hypothesis(self, final: bool = False) -> Hypothesis:
        return Hypothesis()

    def n_best(self, count: int, final: bool = False) -> list[Hypothesis]:
        return [Hypothesis()]


def listen(bundle: Bundle, recordings: Sequence[Recording]) -> Iterator[Heard]:
    """What the network says to each recording that has a text. Raises AudioFileError."""
    return (hear(bundle, recording) for recording in recordings if recording.text is not None)


def hear(bundle: Bundle, recording: Recording) -> Heard:
    """What the network says to a recording; its text is empty if none is known.

    Raises AudioFileError.
    """
    kept = _Listener(bundle)
    recognizer = bundle.recognizer(kept, chunk_seconds=CHUNK_SECONDS)
    with open_audio(recording.audio) as reader:
        session = recognizer.new_session(reader.sample_rate, reader.channels)
        for block in reader.blocks:
            session.accept(block)
            while session.ready:
                recognizer.step([session])
    session.finish()
    while session.ready:
        recognizer.step([session])
    written = torch.cat(kept.written) if kept.pieces else None
    text = normalise(recording.text or "")
    return Heard(text, torch.cat(kept.letters), spoken_words(recording), written)


def search(decoder: Decoder, heard: Heard) -> DecoderStream:
    """A decoder's stream at the end of a recording, which it took as one takes live audio."""
    stream = decoder.new_stream()
    for at in range(0, len(heard.letters), CHUNK_FRAMES):
        chunk = slice(at, at + CHUNK_FRAMES)
        stream.advance(heard.letters[chunk], None if heard.pieces is None else heard.pieces[chunk])
    return stream
