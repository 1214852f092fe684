"""The talk with systemd, over real sockets and file descriptors."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from asr.errors import ConfigError
from service.systemd import Notifier, Watchdog, inherited_sockets, watchdog_interval

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Receives what a daemon sends to $NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(5)
        yield receiver


def notifier_of(manager: socket.socket) -> Notifier:
    return Notifier.from_environment({"NOTIFY_SOCKET": manager.getsockname()})


def test_each_state_is_one_message(manager: socket.socket) -> None:
    notifier = notifier_of(manager)
    notifier.ready()
    notifier.ready("listening")
    notifier.status("waiting for the microphone")
    notifier.stopping()
    notifier.extend_timeout(1.5)
    notifier.watchdog()
    assert [manager.recv(4096) for _ in range(6)] == [
        b"READY=1", b"READY=1\nSTATUS=listening", b"STATUS=waiting for the microphone",
        b"STOPPING=1", b"EXTEND_TIMEOUT_USEC=1500000", b"WATCHDOG=1",
    ]


def test_a_reload_is_told_with_its_monotonic_time_in_the_same_message(
    manager: socket.socket,
) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier_of(manager).reloading()
    first, second = manager.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= before + 5_000_000


def test_a_line_break_in_a_status_starts_no_second_assignment(manager: socket.socket) -> None:
    notifier_of(manager).status("card\nREADY=1")
    assert manager.recv(4096) == b"STATUS=card READY=1"


def test_abstract_addresses_are_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0asrd-test-{os.getpid()}")
        receiver.settimeout(5)
        Notifier(f"@asrd-test-{os.getpid()}").watchdog()
        assert receiver.recv(4096) == b"WATCHDOG=1"


def test_without_a_manager_nothing_happens() -> None:
    Notifier.from_environment({}).ready()


@pytest.mark.parametrize("address", ["/nowhere/at/all", "vsock:2:1234"])
def test_a_manager_out_of_reach_is_logged_not_raised(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier(address).ready()
    assert address in caplog.text


def test_children_inherit_neither_address_nor_watchdog() -> None:
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    Notifier.from_environment(environ)
    watchdog_interval(environ)
    assert environ == {"HOME": "/"}


def test_the_interval_is_meant_for_one_process() -> None:
    own = str(os.getpid())
    assert watchdog_interval({}) is None
    assert watchdog_interval({"WATCHDOG_USEC": "30000000"}) == 30
    assert watchdog_interval({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": own}) == 30
    assert watchdog_interval({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) is None


@pytest.mark.parametrize("value", ["0", "soon", "-1"])
def test_an_interval_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="WATCHDOG_USEC"):
        watchdog_interval({"WATCHDOG_USEC": value})


class Dog:
    """A watchdog of 30 s patience on a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pings = 0
        self.watchdog = Watchdog(self.ping, 30, lambda: self.now)

    def ping(self) -> None:
        self.pings += 1


def test_a_daemon_that_expects_nothing_is_alive() -> None:
    dog = Dog()
    for _ in range(5):
        dog.now += dog.watchdog.period
        assert dog.watchdog.check()
    assert dog.pings == 5
    assert dog.watchdog.period == 15


def test_pings_stop_with_progress_and_come_back_with_it() -> None:
    dog = Dog()
    dog.watchdog.expect("microphone")
    dog.now += 15
    assert dog.watchdog.check()
    dog.now += 1
    assert not dog.watchdog.check()
    assert dog.pings == 1
    dog.watchdog.feed("microphone")
    assert dog.watchdog.check()


def test_audio_does_not_vouch_for_the_model() -> None:
    dog = Dog()
    dog.watchdog.expect("microphone")
    dog.watchdog.expect("inference")
    for _ in range(3):
        dog.now += 10
        dog.watchdog.feed("microphone")
    assert dog.watchdog.stalled() == ["inference"]
    assert not dog.watchdog.check()


def test_more_work_does_not_excuse_the_work_that_hangs() -> None:
    dog = Dog()
    for _ in range(3):
        dog.watchdog.expect("inference")
        dog.now += 10
    assert dog.watchdog.stalled() == ["inference"]


def test_what_rests_is_not_missed_and_late_news_of_it_expect_nothing() -> None:
    dog = Dog()
    dog.watchdog.expect("microphone")
    dog.watchdog.rest("microphone")
    dog.watchdog.feed("microphone")
    dog.now += 100
    assert dog.watchdog.check()


def test_a_stall_is_logged_once_by_name(caplog: pytest.LogCaptureFixture) -> None:
    dog = Dog()
    dog.watchdog.expect("microphone kitchen")
    for _ in range(3):
        dog.now += 20
        dog.watchdog.check()
    assert [r.getMessage() for r in caplog.records] == [
        "no progress for 15 s: microphone kitchen"
    ]


LAUNCHER = """
import os, sys
sources = [int(fd) for fd in sys.argv[1].split(",")]
high = [os.dup(fd) for fd in sources]
high = [os.dup2(fd, 50 + i) for i, fd in enumerate(high)]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
if os.environ.get("LISTEN_PID") == "own":
    os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2]])
"""
"""Passes sockets on as systemd does: same process, descriptors from 3."""

DAEMON = """
import os
from asr.errors import ConfigError
from service.systemd import inherited_sockets
try:
    for given in inherited_sockets():
        print(given.name, given.socket.getsockname(), os.get_inheritable(given.socket.fileno()))
except ConfigError as error:
    print(error)
print(sorted(name for name in os.environ if name.startswith("LISTEN")), inherited_sockets())
"""


def activate(fds: list[int], **environ: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, ",".join(map(str, fds)), DAEMON],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environ, cwd=ROOT,
        pass_fds=fds, capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == "[] []"
    return lines


@pytest.fixture
def listeners(tmp_path: Path) -> Iterator[list[socket.socket]]:
    """A unix and a TCP socket that listen."""
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)) as tcp:
        unix.bind(str(tmp_path / "asrd.sock"))
        unix.listen()
        yield [unix, tcp]


def test_sockets_are_passed_in_by_name_and_kept_from_children(
    listeners: list[socket.socket],
) -> None:
    unix, tcp = listeners
    lines = activate(
        [unix.fileno(), tcp.fileno()],
        LISTEN_PID="own", LISTEN_FDS="2", LISTEN_FDNAMES="transcripts:wyoming",
    )
    assert lines == [
        f"transcripts {unix.getsockname()} False", f"wyoming {tcp.getsockname()} False"
    ]


def test_sockets_without_names_are_unknown(listeners: list[socket.socket]) -> None:
    lines = activate([listeners[0].fileno()], LISTEN_PID="own", LISTEN_FDS="1")
    assert lines == [f"unknown {listeners[0].getsockname()} False"]


def test_sockets_of_another_process_are_left_alone(listeners: list[socket.socket]) -> None:
    assert activate([listeners[0].fileno()], LISTEN_PID="1", LISTEN_FDS="1") == []


def test_what_is_no_socket_is_named(tmp_path: Path) -> None:
    with (tmp_path / "fifo").open("w") as file:
        lines = activate([file.fileno()], LISTEN_PID="own", LISTEN_FDS="1")
    assert lines == ["file descriptor 3 was passed in but is no socket"]


def test_a_count_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="LISTEN_FDS"):
        inherited_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"})
