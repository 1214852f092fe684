"""`asrd status` and `asrd control` as processes, against a served socket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr.audio import open_audio
from service.cli import main as asrd
from service.commands.status import duration
from service.control_client import ControlClient, candidates, find_socket, permission_advice
from service.errors import ControlError
from tests.service.controlled import FakeDaemon
from tests.service.test_control import run, served

Say = Callable[..., Path]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "asrd"
    folder.mkdir()
    return folder / "asrd-control.sock"


async def start(*arguments: object, runtime: Path) -> asyncio.subprocess.Process:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "XDG_RUNTIME_DIR": str(runtime)
    }
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service.cli", *map(str, arguments),
        env=environment, stdin=pipe, stdout=pipe, stderr=pipe,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Exit status and output, once standard input is closed."""
    out, err = await process.communicate(b"")
    return process.returncode, out.decode(), err.decode()


def test_status_is_a_table_for_people_and_json_for_programs(path: Path, tmp_path: Path) -> None:
    async def main() -> None:
        daemon = FakeDaemon("kitchen")
        attic = daemon.health.stream("attic\x1b")
        attic.detail = "no microphone like 'yeti'"
        kitchen = daemon.health.stream("kitchen")
        kitchen.heard_seconds, kitchen.decoded_seconds = 7380.0, 200.0
        kitchen.compute_seconds, kitchen.utterances = 8.0, 42
        kitchen.latencies.append(0.25)
        async with served(daemon, path):
            table, document = await asyncio.gather(
                *(start("status", *options, runtime=tmp_path) for options in ((), ("--json",)))
            )
            status, out, err = await ended(table)
            assert (status, err) == (0, "")
            head, _, columns, first, second, detail, *_ = out.splitlines()
            assert head.startswith("asrd: up ")
            assert head.endswith(" MB of memory, 2 subscribers, 1 finals lost")
            assert columns.split() == [
                *("stream", "source", "heard", "decoded", "utterances"),
                *("rtf", "p50", "p95", "max", "lost"),
            ]
            assert first.split("  ")[0] == "kitchen"
            assert first.split()[1:] == [
                *("listening", "2", "h", "3", "min", "3", "min", "20", "s", "42"),
                *("0.040", "0.25", "0.25", "0.25", "0.0", "s"),
            ]
            assert second.startswith("attic\\x1b  waiting ")
            assert detail == "attic\\x1b: no microphone like 'yeti'"
            status, out, err = await ended(document)
            assert (status, err) == (0, "")
            assert json.loads(out)["streams"]["kitchen"]["utterances"] == 42

    run(main())


def test_status_fails_in_one_line_where_nobody_answers(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path.parent))
    monkeypatch.setattr("service.control_client.SYSTEM_FOLDER", path.parent)
    assert asrd(["status"]) == 1
    assert capsys.readouterr().err.startswith("asrd: not running: there is no socket at /")
    assert asrd(["status", "--socket", str(path)]) == 1
    assert capsys.readouterr().err == f"asrd: not running: nobody serves {path}\n"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert asrd(["status", "--socket", str(path)]) == 1
    assert capsys.readouterr().err == f"asrd: not running: nobody serves {path}\n"


def test_a_daemon_that_hangs_is_not_waited_for_for_ever(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with (
            ControlClient(path, timeout=0.01) as client,
            pytest.raises(ControlError, match="does not answer"),
        ):
            client.request(action="status")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed the connection"),
        (b"hello\n", "does not speak asrd's protocol"),
        (b"x" * 200, "does not speak asrd's protocol"),
        (b"[]\n", "the daemon refused"),
        (b'{"ok": false, "error": "no stream"}\n', "^no stream$"),
    ],
)
def test_other_answers_are_told_in_one_line(path: Path, answer: bytes, reason: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with ControlClient(path, max_reply=100) as client:
            server, _ = listener.accept()
            with server:
                server.sendall(answer)
                server.shutdown(socket.SHUT_WR)
                with pytest.raises(ControlError, match=reason):
                    client.request(action="status")


def test_the_sockets_of_service_session_and_system_are_tried_in_turn(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert [str(p.parent) for p in candidates(environ=environ)] == [
        "/run/a", "/run/b", f"{tmp_path}/asrd", str(tmp_path), "/run", "/run/asrd"
    ]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "asrd-control.sock"))
        assert find_socket(environ) == tmp_path / "asrd-control.sock"


def test_the_group_that_may_connect_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "x"
    path.touch()
    path.chmod(0o660)
    monkeypatch.setattr("grp.getgrgid", lambda _: type("Group", (), {"gr_name": "audio"}))
    assert "sudo usermod -aG audio $USER" in permission_advice(path)
    path.chmod(0o600)
    assert permission_advice(path) == "only its owner may connect"


def test_each_action_is_a_request(path: Path, tmp_path: Path) -> None:
    async def main() -> None:
        daemon = FakeDaemon("kitchen")

        def ask(*arguments: str) -> int:
            return asrd(["control", *arguments, "--socket", str(path)])

        async with served(daemon, path):
            for arguments in (
                ["mute"], ["unmute", "--stream", "kitchen"], ["flush"], ["talk-on"], ["talk-off"]
            ):
                assert await asyncio.to_thread(ask, *arguments) == 0
            assert daemon.asked == [
                *(("mute", None), ("unmute", "kitchen"), ("flush", None)),
                *(("talk", None), ("quiet", None)),
            ]
            assert await asyncio.to_thread(ask, "mute", "--stream", "attic") == 1

    run(main())


@pytest.mark.parametrize("end", ["enter", "ctrl-c", "kill"])
def test_push_to_talk_is_held_until_told(path: Path, tmp_path: Path, end: str) -> None:
    async def main() -> None:
        daemon = FakeDaemon("kitchen")
        async with served(daemon, path):
            process = await start("control", "talk", "--stream", "kitchen", runtime=tmp_path)
            assert process.stdin is not None
            assert process.stderr is not None
            assert b"talk now" in await process.stderr.readline()
            assert daemon.asked == [("talk", "kitchen")]
            if end == "enter":
                process.stdin.write(b"\n")
            else:
                process.send_signal(signal.SIGINT if end == "ctrl-c" else signal.SIGKILL)
            await daemon.until(("talk", "kitchen"), ("quiet", "kitchen"))
            status, _, err = await ended(process)
            assert (status, err) == (-signal.SIGKILL if end == "kill" else 0, "")

    run(main())


def test_push_to_talk_ends_with_the_daemon(path: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with served(FakeDaemon(), path):
            process = await start("control", "talk", runtime=tmp_path)
            assert process.stderr is not None
            await process.stderr.readline()
        assert await process.wait() == 1
        assert b"closed the connection" in await process.stderr.read()

    run(main())


def test_a_recording_becomes_a_stream_that_is_called_like_its_file(
    path: Path, tmp_path: Path, say: Say
) -> None:
    recording = say("phone.wav", rate=8000)
    with open_audio(recording) as audio:
        expected = np.concatenate(list(audio.blocks))[:, 0]

    async def main() -> None:
        daemon = FakeDaemon()
        async with served(daemon, path):
            process = await start("control", "send", recording, runtime=tmp_path)
            assert await ended(process) == (0, "", "")
            assert daemon.rates == {"phone": 8000}
            np.testing.assert_allclose(np.concatenate(daemon.heard["phone"]), expected, atol=1e-4)

    run(main())


def test_raw_pcm_is_passed_on_while_it_comes(path: Path, tmp_path: Path) -> None:
    async def main() -> None:
        daemon = FakeDaemon()
        async with served(daemon, path):
            arguments = ("-", "--stream", "door", "--rate", 8000, "--channels", 2)
            process = await start("control", "send", *arguments, runtime=tmp_path)
            assert process.stdin is not None
            process.stdin.write(np.array([100, 300], "<i2").tobytes())
            await daemon.until(("hear", "door"))
            while not daemon.heard["door"]:  # noqa: ASYNC110 - nobody tells of a block
                await asyncio.sleep(0)
            assert await ended(process) == (0, "", "")
            assert (np.concatenate(daemon.heard["door"]) * 32768).tolist() == [200]

    run(main())


def test_audio_that_is_refused_or_missing_is_told_in_one_line(path: Path, tmp_path: Path) -> None:
    raw = tmp_path / "x.raw"
    raw.write_bytes(bytes(1_000_000))

    async def main() -> None:
        async with served(FakeDaemon("kitchen"), path):
            processes = [
                await start("control", "send", *arguments, runtime=tmp_path)
                for arguments in (
                    (raw, "--rate", 16_000, "--stream", "kitchen"), (tmp_path / "none.wav",)
                )
            ]
            results = [await ended(process) for process in processes]
            assert results == [
                (1, "", "asrd: there is a stream 'kitchen' already\n"),
                (1, "", f"asrd: {tmp_path}/none.wav: no such file or directory\n"),
            ]

    run(main())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.96, "60.0 s"), (61, "1 min 1 s"), (7380, "2 h 3 min"), (90_000, "1 d 1 h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
