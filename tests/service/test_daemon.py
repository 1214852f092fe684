"""The daemon, with a fake service manager, microphones in memory and a real subscriber."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.bundle import Bundle
from asr.errors import ConfigError
from asr.manifest import read_manifest
from service.behaviour import load_behaviour
from service.config import DaemonConfig
from service.config_file import read_config
from service.control_client import ControlClient
from service.control_requests import RequestError
from service.daemon import Daemon
from service.errors import NoStreamLeft, UnknownStreamError
from service.health import Health
from service.live import LiveStream
from service.sources.base import AudioSource
from service.systemd import InheritedSocket, Notifier, Watchdog
from tests.service.conftest import RATE, make_bundle

Speech = Callable[..., NDArray[np.float32]]
PACKET = 800
WAIT = 60

GRAMMAR = """
language: en
intents:
  {intent}:
    data:
      - sentences: ["{sentence}"]
"""


class Source:
    """What is put into it, to its end."""

    def __init__(self, name: str, queue: asyncio.Queue[Any]) -> None:
        self.name, self.sample_rate, self.dropped_seconds = name, RATE, 0.0
        self._queue = queue

    async def __aiter__(self) -> AsyncIterator[NDArray[np.float32]]:
        while (block := await self._queue.get()) is not None:
            if isinstance(block, Exception):
                raise block
            yield block
            self._queue.task_done()


class Microphone:
    """An inlet that tests speak into."""

    def __init__(self, name: str, *, plugged: bool = True) -> None:
        self.name, self.returns = name, True
        self.plugged = asyncio.Event()
        if plugged:
            self.plugged.set()
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.on_waiting: Callable[[str], None] = lambda reason: None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AudioSource]:
        if not self.plugged.is_set():
            self.on_waiting("no microphone like 'yeti'")
        await self.plugged.wait()
        yield Source(self.name, self.queue)

    def hear(self, samples: NDArray[np.float32]) -> None:
        for at in range(0, len(samples), PACKET):
            self.queue.put_nowait(samples[at : at + PACKET])


class Running:
    """A daemon, who looks after it and who listens to it."""

    def __init__(self, path: Path, bundle: Bundle, text: str = "") -> None:
        self.file, self.control = path / "asrd.toml", path / "control.sock"
        self.write(text)
        self.bundle = bundle
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(path / "notify"))
        self.manager.setblocking(False)
        self.transcripts = path / "asrd.sock"
        self.watchdog: Watchdog | None = None
        self.ends_itself = False

    def write(self, text: str) -> None:
        path = self.file.with_name("asrd.sock")
        outputs = f'[outputs]\nsocket = "{path}"\ncontrol = "{self.control}"\n'
        self.file.write_text(f"{outputs}[gate]\nenabled = false\n{text}")

    @asynccontextmanager
    async def run(self, *inlets: Microphone, **options: Any) -> AsyncIterator[Daemon]:
        config: DaemonConfig = read_config(self.file)
        daemon = Daemon(
            config, self.bundle, load_behaviour(self.bundle, config), inlets,
            reread=lambda: read_config(self.file), watchdog=self.watchdog,
            notifier=Notifier(self.manager.getsockname()), **options,
        )  # fmt: skip
        task = asyncio.create_task(daemon.run())
        try:
            await self.told("READY=1")
            self.reader, writer = await asyncio.open_unix_connection(str(self.transcripts))
            # accepting takes turns of the loop, and nobody is told when it is done
            while not daemon.status()["subscribers"]:  # noqa: ASYNC110
                await asyncio.sleep(0)
            try:
                yield daemon
                if not self.ends_itself:
                    os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.wait_for(task, WAIT)
            finally:
                writer.close()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def told(self, wanted: str) -> list[str]:
        """What the manager is told until it holds `wanted`, that included."""
        told: list[str] = []
        loop = asyncio.get_running_loop()
        while not told or wanted not in told[-1]:
            message = await asyncio.wait_for(loop.sock_recv(self.manager, 4096), WAIT)
            told.append(message.decode())
        return told

    async def event(self, kind: str, text: str | None = None) -> dict[str, Any]:
        """The next event of that kind, with that text if one is given."""
        while True:
            line = await asyncio.wait_for(self.reader.readline(), WAIT)
            assert line, f"no {kind} {text} came"
            found: dict[str, Any] = json.loads(line)
            if found["type"] == kind and text in (None, found["text"]):
                return found


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return make_bundle()


@pytest.fixture
def running(tmp_path: Path, bundle: Bundle) -> Iterator[Running]:
    running = Running(tmp_path, bundle)
    yield running
    running.manager.close()


def test_what_is_said_is_told_and_counted(running: Running, speech: Speech) -> None:
    async def main() -> None:
        desk = Microphone("desk")
        async with running.run(desk) as daemon:
            desk.hear(speech("ab."))
            assert (await running.event("final"))["text"] == "ab"
            assert await running.told("desk: listening, 1 utterances")
            found = daemon.status()
            assert (found["model"], found["subscribers"], found["lost_finals"]) == ("tones", 1, 0)
            stream = found["streams"]["desk"]
            assert (stream["state"], stream["utterances"]) == ("listening", 1)
            assert 1.0 < stream["decoded_seconds"] <= stream["heard_seconds"]
            assert stream["rtf"] > 0
            assert stream["latency"]["max"] > 0

    asyncio.run(main())


def test_the_manager_is_told_in_the_right_order(running: Running) -> None:
    async def main() -> None:
        async with running.run(Microphone("desk")):
            os.kill(os.getpid(), signal.SIGHUP)
            told = await running.told("READY=1")
            first, *between, last = [line for line in told if not line.startswith("STATUS=")]
            assert (first[:27], between) == ("RELOADING=1\nMONOTONIC_USEC=", [])
            assert last == "READY=1\nSTATUS=desk: listening, 0 utterances"
        told = await running.told("STOPPING=1")
        assert [line for line in told if not line.startswith("STATUS=")] == ["STOPPING=1"]

    asyncio.run(main())


def test_readiness_does_not_wait_for_an_absent_microphone(
    running: Running, speech: Speech
) -> None:
    async def main() -> None:
        desk = Microphone("desk", plugged=False)
        async with running.run(desk) as daemon:
            assert daemon.status()["streams"]["desk"]["state"] == "waiting"
            assert await running.told("desk: waiting (no microphone like 'yeti')")
            desk.plugged.set()
            desk.hear(speech("ab."))
            assert (await running.event("final"))["text"] == "ab"

    asyncio.run(main())


def test_a_reload_keeps_the_stream_and_changes_its_rules(
    running: Running, speech: Speech, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def main() -> None:
        desk = Microphone("desk")
        async with running.run(desk):
            desk.hear(speech("ab"))
            await running.event("partial", "ab")
            running.write("pre_roll = 1.0\n[endpointing]\nsilence_after_speech = 5.0\n")
            os.kill(os.getpid(), signal.SIGHUP)
            await running.told("READY=1")
            desk.hear(speech(".c"))
            await running.event("partial", "ab c")

    asyncio.run(main())
    assert "changed: endpointing.silence_after_speech" in caplog.text
    assert "needs a restart, kept as it was: gate.pre_roll" in caplog.text


def test_another_grammar_counts_from_the_next_utterance_on(
    running: Running, speech: Speech
) -> None:
    commands = running.file.with_name("commands.yaml")

    async def main() -> None:
        desk = Microphone("desk")
        async with running.run(desk):
            desk.hear(speech("ab"))
            await running.event("partial", "ab")
            commands.write_text(GRAMMAR.format(intent="Do", sentence="ab c"))
            running.write(f'[recognition]\ngrammar = ["{commands}"]\n')
            os.kill(os.getpid(), signal.SIGHUP)
            await running.told("READY=1")
            desk.hear(speech(".ab c."))
            first, second = await running.event("final"), await running.event("final")
        assert (first["text"], "understood" in first) == ("ab", False)
        assert (second["text"], second["intent"]) == ("ab c", "Do")

    asyncio.run(main())


@pytest.mark.parametrize(
    "broken", ["[endpointing]\nmode = 'hasty'\n", "[", "[recognition]\ngrammar = ['x.yaml']\n"]
)
def test_a_broken_file_changes_nothing(
    running: Running, speech: Speech, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    if "x.yaml" in broken:  # there, and no grammar
        running.file.with_name("x.yaml").write_text("language: en\nintents: 3\n")

    async def main() -> None:
        desk = Microphone("desk")
        async with running.run(desk):
            desk.hear(speech("ab"))
            await running.event("partial", "ab")
            running.write(broken)
            os.kill(os.getpid(), signal.SIGHUP)
            await running.told("READY=1")
            desk.hear(speech("c."))
            assert (await running.event("final"))["text"] == "ab c"

    asyncio.run(main())
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "not reloaded, all stays as it was: " in errors[0].getMessage()


def test_a_muted_stream_tells_nothing_and_hears_afresh(running: Running, speech: Speech) -> None:
    async def main() -> None:
        desk = Microphone("desk")
        async with running.run(desk) as daemon:
            desk.hear(speech("ab"))
            await running.event("partial", "ab")
            daemon.mute("desk")
            assert daemon.status()["streams"]["desk"]["state"] == "muted"
            desk.hear(speech("c."))
            await desk.queue.join()
            daemon.unmute("desk")
            desk.hear(speech("d."))
            final = await running.event("final")
        assert (final["text"], final["utterance"]) == ("d", 0)
        # behind what was said before and not heard
        assert final["start"] == pytest.approx(0.6 + 1.9 + 0.1, abs=0.06)

    asyncio.run(main())


def test_flush_ends_the_utterance_although_no_more_audio_comes(
    running: Running, speech: Speech
) -> None:
    async def main() -> None:
        desk = Microphone("desk")
        async with running.run(desk) as daemon:
            desk.hear(speech("ab c")[: -RATE // 10])  # its last tone is not decoded yet
            await running.event("partial", "ab")
            await desk.queue.join()
            daemon.flush(None)
            assert (await running.event("final"))["text"] == "ab c"
            desk.hear(speech("d."))
            assert (await running.event("final"))["utterance"] == 1

    asyncio.run(main())


def test_no_silence_ends_what_is_said_while_the_button_is_pressed(
    running: Running, speech: Speech
) -> None:
    async def main() -> None:
        desk = Microphone("desk")
        async with running.run(desk) as daemon:
            daemon.talk("desk", on=True)
            desk.hear(speech("ab.c"))
            await running.event("partial", "ab c")
            daemon.talk("desk", on=False)
            assert (await running.event("final"))["text"] == "ab c"

    asyncio.run(main())


def test_what_is_said_reaches_the_program_and_the_folder_and_control_works(
    running: Running, speech: Speech, tmp_path: Path
) -> None:
    program = [sys.executable, "-c", f"open({str(tmp_path / 'told')!r}, 'w').write(input())"]
    running.write(
        f"[outputs.command]\nrun = {json.dumps(program)}\ntimeout = 60\n"
        f'[keep_audio]\nfolder = "{tmp_path / "kept"}"\n'
    )

    async def main() -> None:
        desk = Microphone("desk")
        async with running.run(desk):

            def ask(**request: Any) -> dict[str, Any]:
                with ControlClient(running.control) as client:
                    return client.request(**request)

            assert (await asyncio.to_thread(ask, action="mute"))["ok"]
            desk.hear(speech("c.."))
            await desk.queue.join()
            assert (await asyncio.to_thread(ask, action="unmute", stream="desk"))["ok"]
            desk.hear(speech("ab.."))
            assert (await running.event("final"))["text"] == "ab"
            found = await asyncio.to_thread(ask, action="status")
            assert found["status"]["streams"]["desk"]["utterances"] == 1
            while not (tmp_path / "told").exists():  # noqa: ASYNC110 a process, nobody tells
                await asyncio.sleep(0.05)

    asyncio.run(main())
    assert json.loads((tmp_path / "told").read_text())["text"] == "ab"
    (kept,) = read_manifest(tmp_path / "kept" / "manifest.jsonl")
    assert kept.text == "ab"
    assert not running.control.exists()


def test_an_unknown_stream_is_refused(running: Running) -> None:
    async def main() -> None:
        async with running.run(Microphone("desk")) as daemon:
            with pytest.raises(UnknownStreamError, match="no stream is called 'den', only: desk"):
                daemon.mute("den")

    asyncio.run(main())


def test_a_client_learns_that_the_daemon_stopped_before_the_end(
    running: Running, speech: Speech
) -> None:
    async def main() -> None:
        client = Microphone("phone")
        client.returns = False
        async with running.run() as daemon:
            hearing = asyncio.create_task(daemon.hear(client))
            client.hear(speech("ab"))
            await running.event("partial", "ab")
        with pytest.raises(RequestError, match="stopped before all was heard"):
            await hearing

    asyncio.run(main())


def test_times_follow_a_clock_that_is_set_while_a_stream_runs(running: Running) -> None:
    now = {"clock": 10.0, "wall": 1000.0}  # a Raspberry Pi that has not asked for the time yet
    behaviour = load_behaviour(running.bundle, DaemonConfig())
    anything: Any = SimpleNamespace(name="desk")
    stream = LiveStream(
        anything, anything, behaviour, anything, anything, Health().stream("desk"),
        clock=lambda: now["clock"], wall=lambda: now["wall"],
    )  # fmt: skip
    assert stream.began == 1000.0
    now.update(clock=15.0, wall=2_000_005.0)
    assert stream.began == 2_000_000.0


def test_a_client_is_heard_as_one_more_stream(running: Running, speech: Speech) -> None:
    async def main() -> None:
        client = Microphone("phone")
        client.returns = False
        async with running.run(Microphone("desk")) as daemon:
            hearing = asyncio.create_task(daemon.hear(client))
            client.hear(speech("ab"))
            await running.event("partial", "ab")
            with pytest.raises(ConfigError, match="a stream called 'phone' already"):
                await daemon.hear(client)
            client.queue.put_nowait(None)
            await hearing
            final = await running.event("final")
            assert (final["stream"], final["text"]) == ("phone", "ab")
            assert list(daemon.status()["streams"]) == ["desk"]

    asyncio.run(main())


@pytest.mark.parametrize("error", [OSError("no such card"), RuntimeError("a bug")])
def test_a_stream_that_fails_harms_no_other(
    running: Running, speech: Speech, error: Exception
) -> None:
    async def main() -> None:
        desk, den = Microphone("desk"), Microphone("den")
        async with running.run(desk, den) as daemon:
            den.queue.put_nowait(error)
            assert await running.told("den: failed")
            desk.hear(speech("ab."))
            assert (await running.event("final"))["text"] == "ab"
            assert str(error) in daemon.status()["streams"]["den"]["detail"]

    asyncio.run(main())


def test_a_daemon_that_can_hear_nothing_any_more_ends_with_an_error(running: Running) -> None:
    async def main() -> None:
        desk, running.ends_itself = Microphone("desk"), True
        async with running.run(desk):
            desk.queue.put_nowait(OSError("no such card"))
            await running.told("STOPPING=1")

    with pytest.raises(NoStreamLeft):
        asyncio.run(main())


def test_stopping_finishes_the_last_utterance(running: Running, speech: Speech) -> None:
    async def main() -> None:
        desk = Microphone("desk")
        async with running.run(desk):
            desk.hear(speech("ab"))
            await running.event("partial", "ab")
        assert (await running.event("final"))["text"] == "ab"

    asyncio.run(main())
    assert not running.transcripts.exists()


def test_the_socket_of_the_manager_is_served_and_stays(
    running: Running, speech: Speech, tmp_path: Path
) -> None:
    path = tmp_path / "passed.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        running.transcripts = path
        passed = InheritedSocket("transcripts", socket.socket(fileno=os.dup(listener.fileno())))

        async def main() -> None:
            desk = Microphone("desk")
            async with running.run(desk, inherited=[passed]):
                desk.hear(speech("ab."))
                assert (await running.event("final"))["text"] == "ab"

        asyncio.run(main())
    assert path.is_socket()


def test_a_frozen_model_thread_stops_the_pings(
    running: Running, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = running.bundle
    held, entered = threading.Event(), threading.Event()
    forward: Any = bundle.model.forward

    def freeze(*arguments: Any) -> Any:
        entered.set()
        assert held.wait(WAIT)
        return forward(*arguments)

    monkeypatch.setattr(bundle.model, "forward", freeze)
    now, pings = [0.0], []
    watchdog = Watchdog(lambda: pings.append(now[0]), 1000.0, clock=lambda: now[0])
    running.watchdog = watchdog

    async def main() -> None:
        desk = Microphone("desk")
        async with running.run(desk):
            assert pings == [0.0]
            desk.hear(speech("ab"))
            await asyncio.to_thread(entered.wait, WAIT)
            now[0] = 501.0
            desk.hear(speech("c"))
            assert not watchdog.check()
            assert "model thread" in watchdog.stalled()
            held.set()
            await running.event("partial", "ab c")
            await desk.queue.join()
            assert watchdog.check()
            desk.queue.put_nowait(None)
            desk.plugged.clear()
            assert await running.told("desk: waiting")
            now[0] = 5000.0
            assert watchdog.check()

    asyncio.run(main())
    assert pings == [0.0, 501.0, 5000.0]
