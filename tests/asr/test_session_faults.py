"""Bad input and failing steps leave a session as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from asr.errors import AudioFormatError, SessionClosed
from asr.streaming import MAX_CHANNELS, Recognizer, Session
from tests.equivalence import (
    assert_same,
    babble,
    babbler,
    drain,
    heard,
    open_session,
    packets,
    whole,
)


@contextmanager
def failing_model(recognizer: Recognizer) -> Iterator[None]:
    """The model raises, after it has computed."""

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    hook = recognizer.model.register_forward_hook(fail)
    try:
        yield
    finally:
        hook.remove()


def test_a_failed_step_changes_nothing_and_can_be_retried() -> None:
    recognizer = babbler("lstm", "look-ahead")
    audio = [babble(12_000, seed=seed) for seed in range(3)]
    sessions = [open_session(recognizer, samples) for samples in audio]
    for samples, session in zip(audio, sessions, strict=True):
        session.accept(samples)
        session.finish()
    while ready := [session for session in sessions if session.ready]:
        before = [(session.frame, session.hypothesis()) for session in sessions]
        with failing_model(recognizer), pytest.raises(RuntimeError, match="out of memory"):
            recognizer.step(ready)
        assert [(session.frame, session.hypothesis()) for session in sessions] == before
        assert all(session.ready for session in ready)
        recognizer.step(ready)
    for samples, session in zip(audio, sessions, strict=True):
        assert_same(heard(session), whole(recognizer, samples))


def test_a_batch_with_a_session_that_is_not_ready_changes_nobody() -> None:
    recognizer, samples = babbler("gru"), babble(8_000)
    session = recognizer.new_session(16_000)
    session.accept(samples)
    with pytest.raises(IndexError):
        recognizer.step([session, recognizer.new_session(16_000)])
    session.finish()
    drain(recognizer, session)
    assert_same(heard(session), whole(recognizer, samples))


def test_a_step_of_no_sessions_is_no_error() -> None:
    babbler().step([])


def spoilt(value: float) -> Any:
    samples = babble(3_000)
    samples[1_234] = value
    return samples


BAD_MONO: dict[str, Any] = {
    "NaN": spoilt(np.nan),
    "infinite": spoilt(-np.inf),
    "infinite as float32": spoilt(0.5).astype(np.float64) * 1e300,
    "so loud that its power overflows": spoilt(1e25),
    "two channels": babble(3_000, channels=2),
    "channels first": babble(3_000)[None],
    "three axes": babble(3_000)[:, None, None],
    "no axis": np.float32(0.5),
    "int16": (babble(3_000) * 32767).astype(np.int16),
    "bool": babble(3_000) > 0,
    "complex": babble(3_000).astype(np.complex64),
    "text": np.array(["a", "b"]),
    "bytes": b"\x00\x00",
    "objects": np.array([None, 1.0]),
}


def check_refused(session: Session, recognizer: Recognizer, samples: Any, bad: Any) -> None:
    for packet in packets(samples, (1_700,)):
        with pytest.raises(AudioFormatError):
            session.accept(bad)
        session.accept(packet)
        drain(recognizer, session)
    session.finish()
    drain(recognizer, session)
    assert_same(heard(session), whole(recognizer, samples))


@pytest.mark.parametrize("bad", BAD_MONO.values(), ids=BAD_MONO.keys())
def test_bad_samples_are_refused_and_leave_the_session_as_it_was(bad: Any) -> None:
    recognizer = babbler("lstm", "look-ahead")
    check_refused(recognizer.new_session(16_000), recognizer, babble(6_000), bad)


@pytest.mark.parametrize("shape", [(3_000,), (3_000, 1), (3_000, 3), (2, 3_000)])
def test_stereo_takes_nothing_but_two_columns(shape: tuple[int, ...]) -> None:
    recognizer = babbler("gru")
    session = recognizer.new_session(16_000, channels=2)
    bad = np.zeros(shape, np.float32)
    check_refused(session, recognizer, babble(6_000, channels=2), bad)


def test_refusals_name_what_is_wrong() -> None:
    session = babbler().new_session(16_000)
    with pytest.raises(AudioFormatError, match=r"NaN or infinite"):
        session.accept(spoilt(np.nan))
    with pytest.raises(AudioFormatError, match=r"shaped \(3, 2\), expected \(count, 1\)"):
        session.accept(np.zeros((3, 2), np.float32))
    with pytest.raises(AudioFormatError, match=r"int16, expected float"):
        session.accept(np.zeros(3, np.int16))


def test_one_column_and_other_floats_are_mono_audio() -> None:
    recognizer, samples = babbler("gru"), babble(6_000)
    expected = whole(recognizer, samples)
    strided = np.repeat(samples, 2)[::2]
    others: list[Any] = [samples[:, None], strided]
    others += [samples.astype(np.float64), samples.astype(">f4")]
    for same in others:
        session = recognizer.new_session(16_000)
        session.accept(same)
        session.finish()
        drain(recognizer, session)
        assert_same(heard(session), expected)


def test_loud_audio_is_no_error() -> None:
    recognizer = babbler("gru")
    session = recognizer.new_session(16_000)
    session.accept(babble(8_000) * 32_768)
    drain(recognizer, session)
    assert heard(session).log_probs.isfinite().all()


def test_a_reused_buffer_does_not_reach_into_the_session() -> None:
    recognizer, samples = babbler("gru"), babble(6_000)
    session = recognizer.new_session(16_000)
    buffer = np.zeros(500, np.float32)
    for packet in packets(samples, (500,)):
        buffer[:] = packet
        session.accept(buffer)
        buffer[:] = 9.0
    session.finish()
    drain(recognizer, session)
    assert_same(heard(session), whole(recognizer, samples))


def test_read_only_samples_are_taken_without_a_warning() -> None:
    recognizer, samples = babbler("gru"), babble(6_000)
    session = recognizer.new_session(16_000)
    session.accept(np.frombuffer(samples.tobytes(), np.float32))
    session.finish()
    drain(recognizer, session)
    assert_same(heard(session), whole(recognizer, samples))


def test_audio_after_finish_is_refused_and_finishing_twice_is_not() -> None:
    recognizer, samples = babbler("lstm", "look-ahead"), babble(6_000, 44_100)
    session = recognizer.new_session(44_100)
    session.accept(samples)
    session.finish()
    while True:
        session.finish()
        with pytest.raises(SessionClosed, match="after finish"):
            session.accept(samples)
        if not session.ready:
            break
        recognizer.step([session])
    assert_same(heard(session), whole(recognizer, samples, 44_100))


@pytest.mark.parametrize("rate", [0, -16_000, 7_999, 192_001])
def test_impossible_rates_are_refused(rate: int) -> None:
    with pytest.raises(AudioFormatError, match=f"{rate} Hz is outside 8000 to 192000 Hz"):
        babbler().new_session(rate)


@pytest.mark.parametrize("channels", [-1, 0, MAX_CHANNELS + 1])
def test_impossible_channel_counts_are_refused(channels: int) -> None:
    with pytest.raises(AudioFormatError, match=f"{channels} channels"):
        babbler().new_session(16_000, channels)


def test_silence_is_no_error() -> None:
    recognizer = babbler("lstm")
    samples = np.zeros(16_000, np.float32)
    session = recognizer.new_session(16_000)
    session.accept(samples)
    session.finish()
    drain(recognizer, session)
    assert heard(session).log_probs.isfinite().all()
    assert_same(heard(session), whole(recognizer, samples))
