"""Many streams and one model thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.streaming import Recognizer, Session
from service.batcher import Batcher

Speech = Callable[..., NDArray[np.float32]]


class Model:
    """Stands for a recogniser: notes its batches, may be held or made to fail."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self.batches: list[int] = []
        self.bad: Session | None = None
        self.entered = threading.Event()
        self.held = threading.Event()
        self.held.set()

    def step(self, sessions: Sequence[Session]) -> None:
        self.entered.set()
        assert self.held.wait(30)
        self.batches.append(len(sessions))
        if self.bad in sessions:
            raise ValueError("bad stream")
        self.recognizer.step(sessions)


@pytest.fixture
def model(recognizer: Recognizer) -> Any:
    return Model(recognizer)


def sessions(recognizer: Recognizer, audio: NDArray[np.float32], count: int) -> list[Session]:
    made = [recognizer.new_session(16_000) for _ in range(count)]
    for session in made:
        session.accept(audio)
        session.finish()
    return made


async def drain(batcher: Batcher, session: Session) -> str:
    while session.ready:
        await batcher.step(session)
    return session.transcript(final=True).text


def test_streams_that_wait_form_the_next_batch(
    model: Any, recognizer: Recognizer, speech: Speech
) -> None:
    async def main() -> None:
        batcher = Batcher(model)
        found = await asyncio.gather(
            *(drain(batcher, s) for s in sessions(recognizer, speech("ab c"), 5))
        )
        await batcher.aclose()
        assert found == ["ab c"] * 5
        assert not batcher.busy
        assert batcher.batches == len(model.batches)

    asyncio.run(main())
    assert max(model.batches) == 5
    assert sum(model.batches) / len(model.batches) > 3


def test_a_batch_has_a_limit(model: Any, recognizer: Recognizer, speech: Speech) -> None:
    async def main() -> None:
        batcher = Batcher(model, max_batch=2)
        await asyncio.gather(*(drain(batcher, s) for s in sessions(recognizer, speech("a"), 5)))
        await batcher.aclose()

    asyncio.run(main())
    assert max(model.batches) == 2


def test_a_bad_stream_harms_no_other(model: Any, recognizer: Recognizer, speech: Speech) -> None:
    async def main() -> list[Any]:
        made = sessions(recognizer, speech("ab c"), 3)
        model.bad = made[1]
        batcher = Batcher(model)
        found = await asyncio.gather(
            *(drain(batcher, s) for s in made), return_exceptions=True
        )
        await batcher.aclose()
        return found

    first, bad, last = asyncio.run(main())
    assert (first, last) == ("ab c", "ab c")
    assert isinstance(bad, ValueError)


def test_a_search_that_fails_steps_nobody_twice(recognizer: Recognizer, speech: Speech) -> None:
    async def main() -> list[Any]:
        made = sessions(recognizer, speech("ab c"), 3)
        search: Any = made[1]._search

        def fail(*outputs: object) -> None:
            raise ValueError("bad search")

        search.advance = fail
        batcher = Batcher(recognizer)
        found = await asyncio.gather(
            *(drain(batcher, s) for s in made), return_exceptions=True
        )
        await batcher.aclose()
        return found

    first, bad, last = asyncio.run(main())
    assert (first, last) == ("ab c", "ab c")
    assert isinstance(bad, ValueError)


def test_a_cancelled_stream_is_let_go_before_the_call_returns(
    model: Any, recognizer: Recognizer, speech: Speech
) -> None:
    async def main() -> None:
        held, waiting, other = sessions(recognizer, speech("ab c"), 3)
        batcher = Batcher(model)
        model.held.clear()
        first = asyncio.create_task(batcher.step(held))
        await asyncio.to_thread(model.entered.wait, 30)
        second = asyncio.create_task(batcher.step(waiting))
        third = asyncio.create_task(drain(batcher, other))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second  # it had not begun
        first.cancel()
        assert not first.done()
        model.held.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (held.chunks_taken, waiting.chunks_taken) == (1, 0)
        assert await third == "ab c"
        await batcher.aclose()

    asyncio.run(main())


def test_closing_finishes_what_waits_and_refuses_more(
    recognizer: Recognizer, speech: Speech
) -> None:
    async def main() -> None:
        first, second = sessions(recognizer, speech("ab c"), 2)
        batcher = Batcher(recognizer)
        step = asyncio.create_task(batcher.step(first))
        await asyncio.sleep(0)
        await batcher.aclose()
        await step
        await batcher.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await batcher.step(second)

    asyncio.run(main())
