"""The control socket: what clients may ask of the running daemon."""

from __future__ import annotations

from typing import Any, Protocol

from service.sources.base import Inlet


class Controlled(Protocol):
    """What the daemon offers to its control socket.

    `stream` names one of its streams, None all of them. UnknownStreamError for another name.
    """

    def status(self) -> dict[str, Any]:
        """Everything there is to know about its health, as JSON."""
        ...

    def flush(self, stream: str | None) -> None:
        """End the utterance now, without waiting for silence."""
        ...

    def mute(self, stream: str | None) -> None:
        """Hear nothing until `unmute`; what was being said is dropped, not finished."""
        ...

    def unmute(self, stream: str | None) -> None:
        """Hear again, with fresh acoustics."""
        ...

    def talk(self, stream: str | None, *, on: bool) -> None:
        """Push-to-talk: `on`, all audio is speech whatever the detector thinks and no silence
        ends the utterance; off again, it is finished at once."""
        ...

    async def hear(self, inlet: Inlet) -> None:
        """Run a client's audio as one more stream, to its end."""
        ...
