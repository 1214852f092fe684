"""`asrd run` as a process: its life as systemd sees it, and what it says instead of starting."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.cli import main
from service.commands.run import find_config
from tests.service.test_process import DRIVER

Start = Callable[..., Any]
CONFTEST = Path(__file__).with_name("conftest.py")
NOBODY = "microphones = []\n[gate]\nenabled = false\n"
WAIT = 120


@pytest.fixture
def hangup() -> Iterator[None]:
    """Restores what a hang-up does to this process."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """`asrd run` with a configuration of that text."""
    file = tmp_path / "asrd.toml"

    def start(text: str, **environment: str) -> Any:
        file.write_text(text)
        command = [sys.executable, "-c", DRIVER, CONFTEST, "run", "--config", file]
        whole = os.environ | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OMP_NUM_THREADS": "1",
            "ASRD_MODEL": "tones",
            **environment,
        }
        return subprocess.Popen(
            list(map(str, command)), env=whole, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


def test_a_whole_life_as_the_manager_sees_it(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "asrd.sock"
    text = f'{NOBODY}[outputs]\nsocket = "{path}"\ncontrol = "off"\n'
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(WAIT)

        def told(wanted: str) -> str:
            while wanted not in (message := manager.recv(4096).decode()):
                pass
            return message

        with start(text, NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="60000000") as asrd:
            assert told("STATUS=") == "STATUS=loading the model"
            assert told("READY=1") == "READY=1\nSTATUS=no streams"
            with socket.socket(socket.AF_UNIX) as subscriber:
                subscriber.connect(str(path))
                asrd.send_signal(signal.SIGHUP)
                told("RELOADING=1\nMONOTONIC_USEC=")
                told("READY=1")
                asrd.send_signal(signal.SIGTERM)
                told("STOPPING=1")
                assert subscriber.recv(1) == b""
            out, err = asrd.communicate(timeout=WAIT)
    assert (asrd.returncode, out) == (0, "")
    assert err.splitlines() == [
        f"asrd: transcripts are served at {path}", "asrd: reloaded: nothing changed"
    ]
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        ("[gate]\npre_rol = 1\n", 2, "asrd.toml:2: unknown key 'gate.pre_rol'; did you mean"),
        ("microphones = 3\n", 2, "asrd.toml:1: microphones must be"),
        ('[recognition]\ngrammar = ["no.yaml"]\n', 2, "no such file: "),
        (f'{NOBODY}[recognition]\ngrammar = ["asrd.toml"]\n', 1, "asrd.toml"),
        (f'{NOBODY}[recognition]\ndecoder = "best"\n', 1, "best"),
        (f'{NOBODY}[outputs]\nsocket = "/proc/asrd.sock"\n', 1, "/proc/asrd.sock: "),
    ],
)
def test_what_keeps_it_from_starting_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bundled: object, hangup: None,
    text: str, status: int, told: str,
) -> None:
    file = tmp_path / "asrd.toml"
    file.write_text(text)
    assert main(["run", "--config", str(file)]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("asrd: ")
    assert told in line


def test_ones_own_configuration_comes_before_that_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("service.commands.run.SYSTEM_CONFIG", tmp_path / "system.toml")
    assert find_config() is None
    (tmp_path / "system.toml").touch()
    assert find_config() == tmp_path / "system.toml"
    (tmp_path / "asrd").mkdir()
    (tmp_path / "asrd/asrd.toml").touch()
    assert find_config() == tmp_path / "asrd/asrd.toml"
