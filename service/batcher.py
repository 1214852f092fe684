"""The asyncio side of `Recognizer.step`: one model thread that many streams share.

There is no timer: while the thread computes one batch, the streams that become ready
queue up, and all of them are the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from asr.streaming import Recognizer, Session

from .systemd import Watchdog

MAX_BATCH = 64
WATCHED = "model thread"
"""What a watchdog calls it."""


class Batcher:
    """Steps sessions in a thread of its own. It belongs to the event loop that uses it."""

    def __init__(
        self,
        recognizer: Recognizer,
        max_batch: int = MAX_BATCH,
        watchdog: Watchdog | None = None,
    ) -> None:
        """`watchdog` expects a batch as long as any session waits."""
        self._recognizer, self._max_batch, self._watchdog = recognizer, max_batch, watchdog
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._waiting: dict[Session, asyncio.Future[None]] = {}
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self.batches = 0
        """Batches computed so far: a watchdog sees progress by it."""

    @property
    def busy(self) -> bool:
        """Whether any session waits or is being computed."""
        return self._worker is not None and not self._worker.done()

    async def step(self, session: Session) -> None:
        """Advance a ready session by one chunk; raises what its own step raised.

        Only one call at a time for each session. After a cancellation the session is free to
        be touched again: the call returns only when the model thread has let go of it.
        """
        if self._closed:
            raise RuntimeError("the batcher is closed")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[session] = done
        if not self.busy:
            self._worker = asyncio.create_task(self._work())
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            if self._waiting.pop(session, None) is None:
                await _settled(done)
            raise

    async def aclose(self) -> None:
        """Compute what waits, then end the thread. Idempotent."""
        self._closed = True
        if self._worker is not None:
            await asyncio.wait([self._worker])
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        if self._watchdog is not None:
            self._watchdog.expect(WATCHED)
        while self._waiting:
            batch = dict(list(self._waiting.items())[: self._max_batch])
            for session in batch:
                del self._waiting[session]
            errors = await loop.run_in_executor(self._thread, self._compute, list(batch))
            self.batches += 1
            if self._watchdog is not None:
                self._watchdog.feed(WATCHED)
            for done, error in zip(batch.values(), errors, strict=True):
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)
            await asyncio.sleep(0)  # those just served may join the next batch
        if self._watchdog is not None:
            self._watchdog.rest(WATCHED)

    def _compute(self, sessions: Sequence[Session]) -> list[Exception | None]:
        """Step all at once; if that fails each alone, so that a bad one harms no other."""
        before = [session.chunks_taken for session in sessions]
        try:
            self._recognizer.step(sessions)
        except Exception as error:  # task boundary: it is raised to the stream it belongs to
            if len(sessions) == 1:
                return [error]
            # the model fails before any session has changed; a search fails behind those
            # that have been served, and is the last of them
            taken = [
                session.chunks_taken > count
                for session, count in zip(sessions, before, strict=True)
            ]
            culprit = sum(taken) - 1
            return [
                (error if at == culprit else None) if done else self._compute([session])[0]
                for at, (session, done) in enumerate(zip(sessions, taken, strict=True))
            ]
        return [None] * len(sessions)


async def _settled(done: asyncio.Future[None]) -> None:
    """Wait for a future whatever cancels the waiting; its outcome interests nobody."""
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError:
            continue
    done.exception()
