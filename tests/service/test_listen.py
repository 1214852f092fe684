"""`asrd listen` as a process, with raw PCM in the place of a microphone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.service.test_process import DRIVER, pcm

Speech = Callable[..., NDArray[np.float32]]


@pytest.fixture
def listen() -> Callable[..., Any]:
    def start(*arguments: object, **options: Any) -> Any:
        conftest = Path(__file__).with_name("conftest.py")
        command = [sys.executable, "-c", DRIVER, conftest, "listen", "--input", "-", *arguments]
        environment = os.environ | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OMP_NUM_THREADS": "1",
            "ASRD_MODEL": "tones",
        }
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(list(map(str, command)), env=environment, **(pipes | options))

    return start


def test_utterances_are_lines(listen: Any, speech: Speech) -> None:
    with listen("--no-gate") as process:
        out, err = process.communicate(pcm(speech("ab c.d")), timeout=60)
    assert (process.returncode, out, err) == (0, b"ab c\nd\n", b"")


def test_sigterm_finishes_the_last_utterance_for_all_who_listen(
    listen: Any, speech: Speech, tmp_path: Path
) -> None:
    path = tmp_path / "asrd.sock"
    with listen("--no-gate", "--format", "json", "--socket", path) as process:
        process.stdin.write(pcm(speech("a.")))
        process.stdin.flush()
        while json.loads(process.stdout.readline())["type"] != "final":
            pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            lines = client.makefile("rb")
            process.stdin.write(pcm(speech("ab c")))
            process.stdin.flush()
            while b'"ab c"' not in process.stdout.readline():
                pass
            process.send_signal(signal.SIGTERM)
            last = json.loads(lines.readlines()[-1])
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert last == json.loads(out.splitlines()[-1])
    assert (last["type"], last["text"], last["utterance"]) == ("final", "ab c", 1)


def test_a_reader_that_goes_away_is_no_error(listen: Any, speech: Speech) -> None:
    with listen("--no-gate") as process:
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # it may have ended by then
            process.stdin.write(pcm(speech("a.b.c.d")))
            process.stdin.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


def test_a_command_counts_after_the_wake_phrase(
    listen: Any, speech: Speech, tmp_path: Path
) -> None:
    grammar = tmp_path / "do.yaml"
    grammar.write_text("intents: {Do: {data: [{sentences: ['ab']}]}}")
    # words of a letter or two: strict, or any is like any other
    options = ("--no-gate", "--grammar", grammar, "--threshold", 0.5)
    with listen(*options, "--wake", "d", "--wake", "c c") as process:
        out, err = process.communicate(pcm(speech("ab.d ab")), timeout=60)
    assert (process.returncode, out, err) == (0, b"not understood: ab\nd ab\n", b"")


def test_a_wake_phrase_needs_a_grammar(listen: Any) -> None:
    with listen("--wake", "computer") as process:
        _, err = process.communicate(b"", timeout=60)
    assert (process.returncode, err) == (2, b"asrd: --wake goes with --grammar\n")
