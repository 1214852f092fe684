"""`asrd transcribe` as a process: pipes, terminals and signals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Say = Callable[..., Path]
Speech = Callable[..., NDArray[np.float32]]
Start = Callable[..., Any]
"""Gives a Popen; Any, because its pipes are never None here."""

DRIVER = """
import runpy, sys
import asr.bundle
asr.bundle.load_bundle = runpy.run_path(sys.argv[1])["make_bundle"]
from service.cli import main
sys.exit(main(sys.argv[2:]))
"""
"""`asrd` with the tests' recogniser in the place of a bundle."""


@pytest.fixture
def start() -> Start:
    def start(*arguments: object, **options: Any) -> Any:
        conftest = Path(__file__).with_name("conftest.py")
        command = [sys.executable, "-c", DRIVER, conftest, "transcribe", *arguments]
        root = Path(__file__).parents[2]
        environment = os.environ | {
            "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "ASRD_MODEL": "tones"
        }
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(list(map(str, command)), env=environment, **(pipes | options))

    return start


def pcm(samples: NDArray[np.float32]) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def test_partials_of_a_pipe_appear_before_it_ends(start: Start, speech: Speech) -> None:
    data = pcm(speech("ab c"))
    with start("-", "--partials") as process:
        process.stdin.write(data[:20_001])  # an odd byte in the middle
        process.stdin.flush()
        assert process.stderr.readline() == b"partial: a\n"
        out, _ = process.communicate(data[20_001:], timeout=60)
    assert process.returncode == 0
    assert out == b"ab c\n"


def test_ctrl_c_is_quiet(start: Start, speech: Speech) -> None:
    with start("-", "--partials") as process:
        process.stdin.write(pcm(speech("ab")))
        process.stdin.flush()
        assert process.stderr.readline() == b"partial: a\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b""
    assert b"Traceback" not in err


def test_a_reader_that_goes_away_is_no_error(start: Start, say: Say) -> None:
    with start(say("1.wav"), say("2.wav")) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.parametrize("options", [["--partials"], []])
def test_a_terminal_is_drawn_over_and_left_clean(
    start: Start, say: Say, options: list[str]
) -> None:
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    with start(say("x.wav", "ab c.d"), *options, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        while chunk := read_terminal(master):
            shown += chunk
        out, _ = process.communicate(timeout=60)
    os.close(master)
    assert process.returncode == 0
    assert out == b"ab c d\n"
    assert b"\n" not in shown
    if options:
        assert [text for text in shown.decode().split("\r\x1b[K") if text] == [
            *("a", "ab", "ab c", "ab c", "ab c d", "ab c d")  # a final shows once more
        ]
    else:
        assert b"files [" in shown
    assert shown.endswith((b"\r\x1b[K", b"\r"))


def read_terminal(master: int) -> bytes:
    try:
        return os.read(master, 4096)
    except OSError:  # how Linux says that the other side has closed
        return b""
