"""The installed unit under a real systemd, booted in a container on a throw-away copy of `/`.

The container has no sound card: the daemon runs without microphones, and what is asked of it is
what systemd and subscribers do. Limits by cgroup (MemoryMax=, DeviceAllow=, IPAddressDeny=) are in
force only where the machine delegates its controllers.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.test_installation import MAX_EXPOSURE
from tests.service.test_microphone_real import Lines

ROOT = Path(__file__).resolve().parents[2]
BOOT, WAIT = 60, 120
STOP_SECONDS = 2.0

MISSING = [name for name in ("systemd-nspawn", "nsenter", "unshare") if shutil.which(name) is None]
if os.geteuid() != 0:
    MISSING.append("root's rights")

pytestmark = pytest.mark.skipif(
    bool(MISSING) and os.environ.get("CI") != "true", reason=f"missing: {', '.join(MISSING)}"
)

PROGRAM = """\
#!/opt/asrd/bin/python
import os
import sys
import time
sys.path.insert(0, "/opt/asrd/source")
from asr.streaming import Recognizer
from service.cli import main

step = Recognizer.step

def step_unless_frozen(*arguments):
    while os.path.exists("/etc/asrd/frozen"):
        time.sleep(0.1)
    return step(*arguments)

Recognizer.step = step_unless_frozen
sys.exit(main())
"""
"""`asrd`, whose model thread freezes where a file says so."""

DROP_IN = """\
[Service]
RestartSec=100ms
TimeoutStartSec=600
WatchdogSec={watchdog}
"""
WATCHDOG_SECONDS = 5
"""Two would do on a machine that has nothing else to do."""


class Machine:
    """A booted container. Its `/` is this machine's, and whatever is written there is lost."""

    def __init__(self, path: Path) -> None:
        self.path, self.config = path, path / "etc" / "asrd.toml"
        self._build()
        address = path / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind(str(address))
            notified.settimeout(BOOT)
            self._container = subprocess.Popen(
                self._command(), env=os.environ | {"NOTIFY_SOCKET": str(address)},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                text=True,
            )  # fmt: skip
            self._leader = 0
            try:
                while b"READY=1" not in (message := notified.recv(4096)):
                    if found := re.search(rb"X_NSPAWN_LEADER_PID=(\d+)", message):
                        self._leader = int(found[1])
            except TimeoutError:
                self.stop()
                raise AssertionError(self._container.communicate()[1]) from None
        follow = self._inside("journalctl", "-f", "-n", "all", "-o", "cat", "-u", "asrd.service")
        self._journal = subprocess.Popen(follow, stdout=subprocess.PIPE, text=True)
        assert self._journal.stdout is not None
        self.journal = Lines(self._journal.stdout)

    def call(self, *command: object) -> str:
        """What a command in the container says."""
        done = subprocess.run(
            self._inside(*command), capture_output=True, text=True, timeout=WAIT, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shown(self, name: str) -> str:
        """A property of the service."""
        return self.call("systemctl", "show", "--value", "-p", name, "asrd.service").strip()

    def connect(self, name: str = "asrd.sock") -> socket.socket:
        """A subscriber of the transcripts, or a client of another socket."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(WAIT)
        client.connect(f"/proc/{self._leader}/root/run/{name}")
        return client

    def stop(self) -> None:
        """As if the power failed."""
        if self._leader:
            os.kill(self._leader, 9)
        else:
            self._container.kill()
        self._container.wait(WAIT)

    def close(self) -> None:
        self.stop()
        self._journal.wait(WAIT)
        for pipe in (self._container.stderr, self._journal.stdout):
            if pipe is not None:
                pipe.close()

    def _build(self) -> None:
        """An environment in /opt, where the sandbox can see it, wherever the real one is."""
        environment = self.path / "opt"
        for folder in ("bin", "source", self._packages().as_posix()):
            (environment / folder).mkdir(parents=True)
        python = f"python{sysconfig.get_python_version()}"
        (environment / "bin/python").symlink_to(f"/opt/python/bin/{python}")
        (environment / "pyvenv.cfg").write_text("home = /opt/python/bin\n")
        program = environment / "bin/asrd"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        self.config.parent.mkdir()
        self.config.write_text("microphones = []\n")
        drop_in = self.path / "drop-in/test.conf"
        drop_in.parent.mkdir()
        drop_in.write_text(DROP_IN.format(watchdog=WATCHDOG_SECONDS))

    def _packages(self) -> Path:
        return Path(f"lib/python{sysconfig.get_python_version()}/site-packages")

    def _command(self) -> list[str]:
        binds = {
            self.path / "opt": "/opt/asrd",
            ROOT: "/opt/asrd/source",
            Path(sysconfig.get_path("purelib")): f"/opt/asrd/{self._packages()}",
            Path(sys.base_prefix): "/opt/python",
            self.config.parent: "/etc/asrd",
            self.path / "drop-in": "/run/systemd/system/asrd.service.d",
        }
        root = self.path / "root"
        root.mkdir()
        # nspawn does not boot "/" itself. In a mount namespace of its own the other name of it goes
        # with the container, and nothing that cleans up here can walk into it.
        mount = f"mount --bind / {root} && mount -o remount,bind,ro {root} && exec \"$@\""
        return [
            "unshare", "--mount", "--propagation=private", "sh", "-c", mount, "sh",
            "systemd-nspawn", f"--directory={root}", "--volatile=overlay", "--boot",
            "--register=no", "--keep-unit", "--private-network", "--link-journal=no",
            "--notify-ready=yes", "--console=pipe", "--machine=asrd-test",
            *(f"--bind-ro={source}:{target}" for source, target in binds.items()),
            # no more of this machine's services than a boot needs, and none of its timers
            "systemd.unit=basic.target", "systemd.mask=timers.target",
        ]  # fmt: skip

    def _inside(self, *command: object) -> list[str]:
        enter = ["nsenter", f"--target={self._leader}", "-m", "-u", "-i", "-n", "-p"]
        return [*enter, *map(str, command)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """With the service installed; its sockets wait."""
    assert not MISSING
    machine = Machine(tmp_path_factory.mktemp("machine"))
    try:
        machine.call("/opt/asrd/bin/asrd", "install-service")
        machine.call("systemctl", "start", "asrd.socket", "asrd-control.socket")
        yield machine
    finally:
        machine.close()


def test_the_installed_units_are_clean_and_hardly_exposed(machine: Machine) -> None:
    units = ("asrd.service", "asrd.socket")
    assert machine.call("systemd-analyze", "verify", *units) == ""
    report = machine.call("systemd-analyze", "security", "--no-pager", "asrd.service")
    found = re.search(r"Overall exposure level for asrd\.service: ([\d.]+)", report)
    assert found is not None, report
    assert float(found[1]) <= MAX_EXPOSURE


def test_a_subscriber_starts_it_and_stays_through_a_reload(machine: Machine) -> None:
    assert machine.shown("ActiveState") == "inactive"
    with machine.connect() as subscriber:
        machine.journal.until("Started asrd")
        assert machine.shown("ActiveState") == "active"
        assert machine.shown("StatusText") == "no streams"
        process = machine.shown("MainPID")
        machine.config.write_text("microphones = []\n[endpointing]\nmode = 'snappy'\n")
        machine.call("systemctl", "reload", "asrd.service")
        assert machine.journal.until("eloaded: ").endswith("changed: endpointing.mode")
        assert machine.shown("MainPID") == process
        subscriber.setblocking(False)
        with pytest.raises(BlockingIOError):  # neither data nor an end
            subscriber.recv(1)


def test_a_killed_one_is_started_again(machine: Machine) -> None:
    machine.call("systemctl", "start", "asrd.service")
    process = machine.shown("MainPID")
    machine.call("systemctl", "kill", "--signal=KILL", "--kill-who=main", "asrd.service")
    machine.journal.until("status=9/KILL")
    machine.journal.until("Started asrd")
    assert machine.shown("MainPID") not in (process, "0")


def test_a_frozen_one_is_killed_by_the_watchdog_and_started_again(machine: Machine) -> None:
    machine.call("systemctl", "start", "asrd.service")
    process = machine.shown("MainPID")
    machine.call("systemctl", "kill", "--signal=STOP", "--kill-who=main", "asrd.service")
    machine.journal.until("Watchdog timeout")
    machine.journal.until("Failed with result 'watchdog'")
    machine.journal.until("Started asrd")
    assert machine.shown("MainPID") not in (process, "0")


def test_a_frozen_model_thread_is_noticed_though_all_else_goes_on(machine: Machine) -> None:
    machine.call("systemctl", "stop", "asrd.service")
    machine.config.write_text("microphones = []\n[gate]\nenabled = false\n")
    with machine.connect("asrd-control.sock") as client:
        machine.journal.until("Started asrd")
        process = machine.shown("MainPID")
        client.sendall(b'{"action": "audio", "stream": "phone"}\n')
        assert client.recv(100) == b'{"ok": true}\n'
        frozen = machine.config.with_name("frozen")
        frozen.touch()
        client.sendall(bytes(32_000))  # a second of silence
        machine.journal.until("Watchdog timeout")
        machine.journal.until("Failed with result 'watchdog'")
        frozen.unlink()
        machine.journal.until("Started asrd")
    assert machine.shown("MainPID") not in (process, "0")


def test_a_stop_is_clean_and_takes_two_seconds_at_most(machine: Machine) -> None:
    machine.call("systemctl", "start", "asrd.service")
    machine.call("systemctl", "stop", "asrd.service")
    assert machine.shown("Result") == "success"
    assert machine.shown("ExecMainStatus") == "0"
    began = int(machine.shown("ActiveExitTimestampMonotonic"))
    ended = int(machine.shown("InactiveEnterTimestampMonotonic"))
    assert (ended - began) / 1e6 <= STOP_SECONDS
