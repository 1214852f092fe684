"""Push-to-talk with several buttons."""

from __future__ import annotations

import pytest

from service.errors import UnknownStreamError
from service.push_to_talk import KEPT, PushToTalk


class Streams:
    """Notes what is switched."""

    def __init__(self) -> None:
        self.switched: list[tuple[str | None, bool]] = []
        self.gone: set[str | None] = set()

    def talk(self, stream: str | None, *, on: bool) -> None:
        if stream in self.gone:
            raise UnknownStreamError(f"no stream {stream!r}")
        self.switched.append((stream, on))

    def take(self) -> list[tuple[str | None, bool]]:
        found, self.switched = self.switched, []
        return found


def test_the_last_to_let_go_releases() -> None:
    streams = Streams()
    buttons = PushToTalk(streams.talk)
    buttons.press("a", 1)
    buttons.press("a", 2)
    streams.take()
    buttons.release("a", 1)
    assert streams.take() == []
    buttons.let_go(2)
    assert streams.take() == [("a", False)]
    buttons.let_go(2)
    assert streams.take() == []


def test_what_was_kept_pressed_is_released_by_anyone() -> None:
    streams = Streams()
    buttons = PushToTalk(streams.talk)
    buttons.press(None, KEPT)
    buttons.let_go(1)
    assert streams.take() == [(None, True)]
    buttons.release(None, 1)
    assert streams.take() == [(None, False)]


def test_the_button_of_all_streams_and_that_of_one_do_not_release_each_other() -> None:
    streams = Streams()
    buttons = PushToTalk(streams.talk)
    buttons.press(None, 1)
    buttons.press("a", 2)
    streams.take()
    buttons.let_go(2)
    assert streams.take() == []
    buttons.press("a", 2)
    streams.take()
    buttons.let_go(1)
    assert streams.take() == [(None, False), ("a", True)]


def test_a_stream_that_has_gone_needs_no_release() -> None:
    streams = Streams()
    buttons = PushToTalk(streams.talk)
    buttons.press("a", 1)
    buttons.press("b", 1)
    streams.take()
    streams.gone.add("a")
    buttons.let_go(1)
    assert streams.take() == [("b", False)]


def test_an_unknown_stream_is_not_held() -> None:
    streams = Streams()
    streams.gone.add("a")
    buttons = PushToTalk(streams.talk)
    with pytest.raises(UnknownStreamError):
        buttons.press("a", 1)
    streams.gone.clear()
    buttons.let_go(1)
    assert streams.take() == []
