"""Microphones, with a PortAudio that the tests pull the plug of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from service.sources.base import Waiting
from service.sources.microphone import Microphone
from service.sources.port_audio import InputDevice, NoInput, PortAudio, choose


class PortAudioError(Exception):
    pass


class FakeStream:
    def __init__(self, library: FakeLibrary, **options: Any) -> None:
        self.library, self.options = library, options
        rates = library.rates
        if options["samplerate"] not in rates or options["channels"] not in library.channels:
            raise PortAudioError("Invalid sample rate")
        self.closed = False

    def start(self) -> None:
        self.library.streams.append(self)
        if self.library.dead:
            self.library.dead -= 1
        else:
            self.hear(0.0)

    def close(self) -> None:
        self.closed = True

    def hear(self, value: float, overflow: bool = False) -> None:
        """What PortAudio's thread does, with a buffer that it uses again."""
        shape = self.options["blocksize"], self.options["channels"]
        buffer = np.full(shape, value, np.float32)
        status = SimpleNamespace(input_overflow=overflow)
        self.options["callback"](buffer, len(buffer), None, status)
        buffer[:] = 9


class FakeLibrary:
    """The module sounddevice; the list of devices is frozen until it is started anew."""

    PortAudioError = PortAudioError

    def __init__(self, *names: str) -> None:
        self.plugged: list[str] = list(names)
        self.known = list(names)
        self.rates, self.channels = {16_000}, {1}
        self.streams: list[FakeStream] = []
        self.restarts = 0
        self.dead = 0
        """Streams to come that start and never give audio."""
        self.default = SimpleNamespace(device=[0, 0])

    def query_devices(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "max_input_channels": 0 if name == "HDMI" else 2,
             "default_samplerate": 48_000.0}
            for name in self.known
        ]  # fmt: skip

    def _terminate(self) -> None:
        assert all(stream.closed for stream in self.streams)
        self.restarts += 1

    def _initialize(self) -> None:
        self.known = list(self.plugged)

    def InputStream(self, **options: Any) -> FakeStream:
        return FakeStream(self, **options)


async def never(seconds: float) -> None:
    raise AssertionError("waited")


def run(main: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(main(), 30))


def devices(*names: str) -> list[InputDevice]:
    return [InputDevice(name, i, 1, 48_000, i == 1) for i, name in enumerate(names)]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (None, "Webcam"),
        ("w?bcam", "Webcam"),
        ("yeti", "Blue Yeti [USB]"),
        ("*[USB]", "Blue Yeti [USB]"),
        ("[u", "Blue Yeti [USB]"),
    ],
)
def test_a_device_is_chosen_by_its_name(pattern: str | None, found: str) -> None:
    assert choose(devices("Blue Yeti [USB]", "Webcam"), pattern).name == found


def test_a_number_is_no_index() -> None:
    with pytest.raises(NoInput, match="no microphone like '0'"):
        choose(devices("Webcam"), "0")


def test_outputs_are_no_microphones() -> None:
    assert [d.name for d in PortAudio(FakeLibrary("HDMI", "Webcam")).inputs()] == ["Webcam"]


def test_buffers_are_copied_and_mixed() -> None:
    async def main() -> None:
        library = FakeLibrary("Webcam")
        library.rates, library.channels = {48_000}, {2}
        async with Microphone(port_audio=PortAudio(library), sleep=never).open() as source:
            assert source.sample_rate == 48_000
            library.streams[0].hear(0.25)
            blocks = aiter(source)
            assert (await anext(blocks) == 0).all()
            block = await anext(blocks)
            assert block.shape == (2_400,)
            assert (block == 0.25).all()
        assert library.streams[0].closed

    run(main)


def test_a_busy_recogniser_loses_the_oldest_audio_and_it_is_counted() -> None:
    async def main() -> None:
        library = FakeLibrary("Webcam")
        async with Microphone(port_audio=PortAudio(library), sleep=never).open() as source:
            for number in range(110):
                library.streams[0].hear(number / 1000)
            library.streams[0].hear(0.5, overflow=True)
            blocks = aiter(source)
            assert (await anext(blocks))[0] == pytest.approx(0.011)
            assert source.overflows == 12  # with the block that it began with
            assert source.dropped_seconds == pytest.approx(12 * 0.05)

    run(main)


def test_an_absent_microphone_is_waited_for_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        library = FakeLibrary()
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 7:
                library.plugged.append("Blue Yeti")

        told: list[str] = []
        microphone = Microphone("yeti", port_audio=PortAudio(library), sleep=sleep)
        microphone.on_waiting = told.append
        assert isinstance(microphone, Waiting)
        async with microphone.open():
            assert waits == [1, 2, 4, 8, 10, 10, 10]
            assert told == ["no microphone like 'yeti'"]
            assert library.restarts == 7

    run(main)
    assert caplog.text.count("no microphone like 'yeti'") == 1


@pytest.mark.parametrize("silently", [True, False])
def test_an_unplugged_microphone_is_heard_again(silently: bool) -> None:
    async def main() -> None:
        library = FakeLibrary("Webcam", "Yeti")

        async def sleep(seconds: float) -> None:
            library.plugged = ["Yeti", "Webcam"]  # with another index

        microphone = Microphone(
            "yeti", port_audio=PortAudio(library), sleep=sleep,
            unplugged_seconds=0.01 if silently else 30,
        )  # fmt: skip
        async with microphone.open() as source:
            library.plugged = ["Webcam"]
            library.streams[0].hear(0.25)
            if not silently:
                library.streams[0].options["finished_callback"]()
            assert len([block async for block in source]) == 2
        async with microphone.open() as source:
            assert library.streams[1].options["device"] == 0
            library.streams[1].hear(0.5)
            blocks = aiter(source)
            assert [(await anext(blocks))[0] for _ in range(2)] == [0, 0.5]

    run(main)


def test_a_microphone_that_opens_but_gives_no_audio_is_opened_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # as PulseAudio did while the device behind it was being exchanged
    async def main() -> None:
        library = FakeLibrary("Webcam")
        library.dead = 2
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        microphone = Microphone(
            port_audio=PortAudio(library), sleep=sleep, unplugged_seconds=0.01
        )
        async with microphone.open():
            assert waits == [1, 2]
            assert [stream.closed for stream in library.streams] == [True, True, False]

    caplog.set_level("INFO")
    run(main)
    assert caplog.text.count("Webcam was opened, but gives no audio; waiting for it") == 1
    assert caplog.text.count("listening to Webcam") == 1


def test_the_list_of_devices_is_kept_while_another_microphone_is_open() -> None:
    async def main() -> None:
        library = FakeLibrary("Webcam")
        port_audio = PortAudio(library)
        async with Microphone(port_audio=port_audio, sleep=never).open():
            port_audio.refresh()
            assert library.restarts == 0
        port_audio.refresh()
        assert library.restarts == 1

    run(main)


def test_what_is_plugged_in_while_another_is_open_is_found() -> None:
    async def main() -> None:
        library = FakeLibrary("Webcam")
        port_audio = PortAudio(library, cards=lambda: " ".join(library.plugged))
        async with Microphone("webcam", port_audio=port_audio, sleep=never).open() as source:

            async def sleep(seconds: float) -> None:
                library.plugged.append("Yeti")

            waiting = asyncio.ensure_future(
                Microphone("yeti", port_audio=port_audio, sleep=sleep).open().__aenter__()
            )
            async for _ in source:  # until it is ended to look for others
                await asyncio.sleep(0)
        yeti = await waiting
        assert yeti.device == "Yeti"
        async with Microphone("webcam", port_audio=port_audio, sleep=never).open() as again:
            assert again.device == "Webcam"
        assert library.restarts == 1

    run(main)


def test_a_device_that_opens_but_does_not_start_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = FakeLibrary("Webcam")
    opened: list[FakeStream] = []

    def start(stream: FakeStream) -> None:
        opened.append(stream)
        raise PortAudioError("busy")

    monkeypatch.setattr(FakeStream, "start", start)
    port_audio = PortAudio(library)
    (device,) = port_audio.inputs()
    with pytest.raises(NoInput, match="Webcam: busy"):
        port_audio.open(device, 16_000, 1, 0.05, None, None)
    assert [stream.closed for stream in opened] == [True]


def test_stopping_ends_the_waiting() -> None:
    async def main() -> None:
        waiting = asyncio.Event()

        async def sleep(seconds: float) -> None:
            waiting.set()
            await asyncio.Event().wait()

        context = Microphone(port_audio=PortAudio(FakeLibrary()), sleep=sleep).open()
        task = asyncio.ensure_future(context.__aenter__())
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
