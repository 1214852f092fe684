"""Chunked equals whole: the specification of the streaming recogniser."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr import streaming
from asr.decoding.base import NOTHING
from asr.decoding.greedy import GreedyDecoder, GreedyStream
from asr.errors import ConfigError
from asr.features import FeatureConfig
from asr.framing import Framer
from asr.model import ModelState
from asr.resample import Resampler
from asr.streaming import Recognizer, Session
from asr.transcript import Transcript
from asr.vocabulary import BLANK_ID, Vocabulary
from tests.equivalence import (
    CELLS,
    PIECES,
    TOLERANCE,
    VARIANTS,
    Heard,
    RecordingDecoder,
    assert_same,
    babble,
    babbler,
    drain,
    heard,
    open_session,
    packets,
    recording,
    streamed,
    whole,
)

N_FFT, HOP = FeatureConfig().n_fft, FeatureConfig().hop_length
# no shrinking: a broken carry-over fails everywhere at once, and the examples are small
PHASES = (Phase.explicit, Phase.generate)
FEW = settings(
    max_examples=6, derandomize=True, deadline=None, database=None, phases=PHASES
)
SIZES = st.lists(st.integers(0, 6_000), min_size=1, max_size=6).filter(any)

every_cell = pytest.mark.parametrize("cell", CELLS)
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def chunk_samples(recognizer: Recognizer) -> int:
    """Audio that completes the first chunk."""
    return N_FFT + (recognizer.chunk_frames - 1) * HOP


@every_variant
@every_cell
@FEW
@given(sizes=SIZES)
def test_packet_sizes_do_not_matter(cell: str, variant: str, sizes: list[int]) -> None:
    recognizer, samples = babbler(cell, variant), babble(20_000)
    assert_same(streamed(recognizer, samples, sizes), whole(recognizer, samples))


@pytest.mark.parametrize("size", [1, HOP - 1, N_FFT, 1_000_000])
@every_cell
def test_neither_do_extreme_packets(cell: str, size: int) -> None:
    recognizer, samples = babbler(cell, "look-ahead"), babble(4_000)
    assert_same(streamed(recognizer, samples, (size,)), whole(recognizer, samples))


@every_variant
@every_cell
@FEW
@given(random=st.randoms(use_true_random=False), streams=st.integers(2, 5))
def test_any_mix_of_streams_in_a_batch_gives_what_each_gives_alone(
    cell: str, variant: str, random: Random, streams: int
) -> None:
    recognizer = babbler(cell, variant)
    lengths = [random.choice((0, 1, N_FFT, 3_000, 9_000, 16_001)) for _ in range(streams)]
    audio = [babble(length, seed=seed) for seed, length in enumerate(lengths)]
    sessions = [open_session(recognizer, samples) for samples in audio]
    left = [list(packets(samples, (random.randint(1, 4_000), 700))) for samples in audio]
    while not all(session.finished for session in sessions):
        for session, queue in zip(sessions, left, strict=True):
            if queue and random.random() < 0.7:
                session.accept(queue.pop(0))
            elif not queue:
                session.finish()
        ready = [session for session in sessions if session.ready and random.random() < 0.8]
        random.shuffle(ready)
        recognizer.step(ready)
    for samples, session in zip(audio, sessions, strict=True):
        assert_same(heard(session), whole(recognizer, samples))


@pytest.mark.parametrize("variant", ["plain", "look-ahead"])
@every_cell
def test_streams_of_every_length_equal_the_whole(cell: str, variant: str) -> None:
    recognizer = babbler(cell, variant)
    chunk = chunk_samples(recognizer)
    hops = (chunk + HOP, 2 * chunk - N_FFT + HOP)  # one more frame; two whole chunks
    near = [at + by for at in (N_FFT, chunk, *hops) for by in (-1, 0, 1)]
    for length in (0, 1, HOP, *near):
        samples = babble(length)
        expected = whole(recognizer, samples)
        assert_same(streamed(recognizer, samples, (617,)), expected)
        assert (len(expected.log_probs) == 0) == (length == 0)


@pytest.mark.parametrize("channels", [0, 2])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_every_sample_rate_streams_as_the_whole(rate: int, channels: int) -> None:
    recognizer = babbler("lstm", "look-ahead")
    samples = babble(rate, rate, channels)
    expected = whole(recognizer, samples, rate)
    for sizes in ((37, 2_000), (441,), (rate,)):
        assert_same(streamed(recognizer, samples, sizes, rate), expected)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("length", [1, 30, 700])
def test_audio_shorter_than_the_resampler_holds_back_is_heard(rate: int, length: int) -> None:
    recognizer, samples = babbler("gru"), babble(length, rate)
    found = streamed(recognizer, samples, (19,), rate)
    assert_same(found, whole(recognizer, samples, rate))
    assert len(found.log_probs)


@every_cell
def test_chunk_length_does_not_matter(cell: str) -> None:
    samples = babble(20_000)
    expected = streamed(babbler(cell, "look-ahead"), samples)
    for chunk_seconds in (0.0, 0.4, 3.0):
        recognizer = babbler(cell, "look-ahead", chunk_seconds)
        assert_same(streamed(recognizer, samples), expected)


@every_variant
def test_the_tests_hear_a_talkative_model(variant: str) -> None:
    for cell in CELLS:
        tokens = whole(babbler(cell, variant), babble(20_000)).tokens
        assert len(tokens) >= 6
        assert len(set(tokens)) >= 4


@every_variant
@every_cell
def test_every_part_of_the_state_matters(
    cell: str, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer, samples = babbler(cell, variant), babble(12_000)
    expected = whole(recognizer, samples)
    for index in range(len(recognizer.model.initial_state())):

        def forget(state: ModelState, lost: int = index) -> list[ModelState]:
            kept = [p * 0 if i == lost else p for i, p in enumerate(state)]
            return list(zip(*(torch.split(part, 1) for part in kept), strict=True))

        with monkeypatch.context() as patch:
            patch.setattr(streaming, "split_state", forget)
            found = streamed(recognizer, samples)
        assert not close(found, expected), f"state {index} can be lost unnoticed"


def close(found: Heard, expected: Heard) -> bool:
    same = found.log_probs.shape == expected.log_probs.shape
    return same and bool((found.log_probs - expected.log_probs).abs().max() <= TOLERANCE)


def lose_the_tail(framer: Framer) -> Tensor:
    span, framer._tail = framer._tail, framer._tail[:0]
    count = max(0, (len(span) - framer.length) // framer.hop + 1)
    return span[: (count - 1) * framer.hop + framer.length] if count else span[:0]


def resample_each_packet_alone(resampler: Resampler, samples: Any) -> Any:
    whole = Resampler(44_100, 16_000)
    assert whole._stream is not None
    return whole._stream.resample_chunk(samples, last=True)


def forget_the_last_token(
    stream: GreedyStream, log_probs: Tensor, pieces: Tensor | None = None
) -> None:
    stream._last = BLANK_ID
    ADVANCE(stream, log_probs)


ADVANCE = GreedyStream.advance


@pytest.mark.parametrize(
    ("owner", "method", "broken"),
    [
        (Framer, "pop_span", lose_the_tail),
        (Framer, "pad", lambda self, count: None),
        (Resampler, "push", resample_each_packet_alone),
        (Resampler, "flush", lambda self: np.zeros(0, np.float32)),
        (GreedyStream, "advance", forget_the_last_token),
    ],
)
def test_broken_carry_over_is_noticed(
    owner: type, method: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = babbler("lstm", "no stacking")
    samples = babble(44_100, 44_100)
    expected = whole(recognizer, samples, 44_100)
    assert_same(streamed(recognizer, samples, (1_000,), 44_100), expected)
    monkeypatch.setattr(owner, method, broken)
    with pytest.raises(AssertionError):
        assert_same(streamed(recognizer, samples, (1_000,), 44_100), expected)


@every_variant
def test_finish_releases_what_is_held_and_resets_nothing(variant: str) -> None:
    recognizer, samples = babbler("lstm", variant), babble(16_000)
    session = open_session(recognizer, samples)
    session.accept(samples)
    drain(recognizer, session)
    before = heard(session)
    session.finish()
    assert (session.ready, session.finished) == (True, False)
    drain(recognizer, session)
    after = heard(session)
    assert (session.ready, session.finished) == (False, True)
    assert len(after.log_probs) > len(before.log_probs)
    torch.testing.assert_close(after.log_probs[: len(before.log_probs)], before.log_probs)
    assert after.tokens[: len(before.tokens)] == before.tokens


def test_no_frame_waits_longer_than_the_latency() -> None:
    for variant, params in VARIANTS.items():
        recognizer = babbler("gru", variant)
        session = recognizer.new_session(16_000)
        audio = babble(round(recognizer.latency * 16_000))
        session.accept(audio[:-1])
        drain(recognizer, session)
        assert session.frame == 0 or params.get("lookahead", 0)
        session.accept(audio[-1:])
        drain(recognizer, session)
        # the first chunk is complete: all of its frames are out
        assert session.frame == recognizer.chunk_frames // recognizer.model.config.subsampling


def test_an_empty_stream_gives_empty_text() -> None:
    recognizer = babbler("lstm", "look-ahead")
    for samples in ([], [np.zeros(0, np.float32)] * 3):
        session = recognizer.new_session(44_100)
        for packet in samples:
            session.accept(packet)
        assert (session.ready, session.finished) == (False, False)
        session.finish()
        assert (session.ready, session.finished) == (False, True)
        assert session.transcript() == Transcript((), 0.0, 0.0)
        assert session.transcript().text == ""


def utterances(recognizer: Recognizer, session: Session) -> list[tuple[int, ...]]:
    """Tokens between forced cuts after every single step."""
    found = []
    while session.ready:
        recognizer.step([session])
        found.append(session.hypothesis().tokens)
        session.start_utterance()
    return found


@every_cell
def test_a_token_that_spans_a_forced_cut_is_written_once(cell: str) -> None:
    recognizer = recording(babbler(cell, "no stacking"))
    samples = babble(40_000)
    expected = whole(recognizer, samples)
    session = recognizer.new_session(16_000)
    session.accept(samples)
    session.finish()
    parts = utterances(recognizer, session)
    assert len(parts) > 10
    assert sum(parts, ()) == expected.tokens
    best = expected.log_probs.argmax(-1).tolist()
    cuts = range(4, len(best), recognizer.chunk_frames // 4)
    assert any(best[cut - 1] == best[cut] != BLANK_ID for cut in cuts)


def test_words_carry_times_of_the_stream_also_after_a_cut() -> None:
    recognizer = babbler("lstm", "plain")
    session = recognizer.new_session(16_000)
    session.accept(babble(20_000))
    drain(recognizer, session)
    first = session.transcript()
    session.start_utterance()
    assert session.hypothesis().tokens == ()
    session.finish()
    drain(recognizer, session)
    second = session.transcript()
    assert first.start == 0.0
    assert second.start == pytest.approx(first.end)
    assert second.end == pytest.approx(session.frame * recognizer.frame_seconds)
    times = [t for part in (first, second) for w in part.words for t in (w.start, w.end)]
    assert times == sorted(times)
    assert second.words[0].start >= second.start
    assert all(0 < word.confidence <= 1 for word in first.words + second.words)


def test_reading_the_hypothesis_changes_nothing() -> None:
    recognizer, samples = babbler("gru"), babble(16_000)
    session = recognizer.new_session(16_000)
    for packet in packets(samples, (1_600,)):
        session.accept(packet)
        drain(recognizer, session)
        assert session.hypothesis() == session.hypothesis()
        assert session.transcript() == session.transcript()
    session.finish()
    drain(recognizer, session)
    assert_same(heard(session), whole(recognizer, samples))


def test_a_vocabulary_that_does_not_fit_the_model_is_refused() -> None:
    recognizer = babbler()
    few = Vocabulary(("<blank>", "a"))
    with pytest.raises(ConfigError, match="2 tokens does not fit a model of 29"):
        Recognizer(recognizer.extractor, recognizer.model, few, GreedyDecoder())


def test_word_pieces_that_do_not_fit_the_model_are_refused() -> None:
    plain, of_pieces = babbler(), babbler("lstm", "word pieces")
    parts = plain.extractor, plain.model, plain.vocabulary
    with pytest.raises(ConfigError, match="18 word pieces do not fit a model of 0"):
        Recognizer(*parts, GreedyDecoder(), pieces=PIECES)
    with pytest.raises(ConfigError, match="the model writes none"):
        Recognizer(*parts, GreedyDecoder(pieces=True))
    with pytest.raises(ConfigError, match="the model writes none"):
        plain.new_session(16_000, decoder=GreedyDecoder(pieces=True))
    of_pieces.new_session(16_000, decoder=GreedyDecoder())


def test_letters_and_pieces_are_read_in_one_batch_as_each_alone() -> None:
    recognizer, samples = babbler("lstm", "word pieces"), babble(16_000)
    letters = recording(recognizer, pieces=False)
    sessions = [
        recognizer.new_session(16_000),
        recognizer.new_session(16_000, decoder=RecordingDecoder()),
    ]
    for session in sessions:
        session.accept(samples)
        session.finish()
    while sessions[0].ready:
        recognizer.step(sessions)
    assert_same(heard(sessions[0]), whole(recognizer, samples))
    assert_same(heard(sessions[1]), whole(letters, samples))
    assert sessions[0].transcript().text == PIECES.decode(heard(sessions[0]).tokens)


def test_another_decoder_may_read_the_other_output_from_the_next_utterance_on() -> None:
    recognizer, samples = babbler("lstm", "word pieces"), babble(32_000)
    session = recognizer.new_session(16_000)
    session.accept(samples[:16_000])
    drain(recognizer, session)
    first = heard(session)
    assert first.log_probs.shape[1] == len(PIECES)
    session._search._last = 3  # type: ignore[attr-defined]  # as where a sound spans the cut
    session.decoder = RecordingDecoder()
    assert session.hypothesis().pieces
    session.start_utterance()
    assert not session.hypothesis().pieces
    assert session._search.last_tokens == NOTHING  # the id of a piece is no letter's
    session.accept(samples[16_000:])
    session.finish()
    drain(recognizer, session)
    alone = whole(recording(recognizer, pieces=False), samples)
    torch.testing.assert_close(
        heard(session).log_probs, alone.log_probs[len(first.log_probs) :], rtol=0, atol=TOLERANCE
    )
