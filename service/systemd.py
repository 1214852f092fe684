"""What systemd and the daemon tell each other: readiness, watchdog, sockets passed in.

The protocol is a few datagrams and environment variables (sd_notify(3), sd_listen_fds(3)),
so there is no library behind it. What is read from the environment is taken out of it:
programs that the daemon starts must not speak in its name.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass

from asr.errors import ConfigError

Clock = Callable[[], float]

_FIRST_FD = 3
_SEND_TIMEOUT = 1.0
"""Seconds; a service manager that does not read must not stop the daemon."""

_log = logging.getLogger(__name__)


class Notifier:
    """Tells the service manager how the daemon is; silent where there is no manager."""

    def __init__(self, address: str | None) -> None:
        """`address` is a path, or `@` and a name in the abstract namespace."""
        if address is not None and address[:1] not in ("/", "@"):
            _log.warning("NOTIFY_SOCKET %r is neither a path nor abstract, ignored", address)
            address = None
        self._address = address

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """The notifier of $NOTIFY_SOCKET."""
        return cls(environ.pop("NOTIFY_SOCKET", None))

    def ready(self, status: str = "") -> None:
        """Startup or a reload is complete: model, sockets and sources are up."""
        self._send("READY=1", *([_status(status)] if status else []))

    def status(self, text: str) -> None:
        """One line that people read in `systemctl status`."""
        self._send(_status(text))

    def reloading(self) -> None:
        """A reload begins; `ready` must follow."""
        # one datagram, or the manager sees a reload without its time and kills the unit
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """Shutdown has begun."""
        self._send("STOPPING=1")

    def extend_timeout(self, seconds: float) -> None:
        """Startup, reload or shutdown goes on and may take that much longer from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def watchdog(self) -> None:
        """The daemon is alive."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_SEND_TIMEOUT)
                sender.sendto("\n".join(assignments).encode(), address)
        except OSError as error:
            _log.warning("the service manager does not listen at %s: %s", self._address, error)


def _status(text: str) -> str:
    # a line break would start another assignment
    return "STATUS=" + " ".join(text.split())


def watchdog_interval(environ: MutableMapping[str, str] = os.environ) -> float | None:
    """Seconds after which the manager misses a ping; None if it waits for none of us."""
    interval, pid = environ.pop("WATCHDOG_USEC", None), environ.pop("WATCHDOG_PID", None)
    if interval is None or (pid is not None and pid != str(os.getpid())):
        return None
    if not interval.isdecimal() or int(interval) == 0:
        raise ConfigError(f"WATCHDOG_USEC must be a whole number above 0, got {interval!r}")
    return int(interval) / 1e6


class Watchdog:
    """Pings as long as everything that is expected to progress does.

    Whoever waits for something says so with `expect` (a microphone was opened, a chunk was
    given to the model), tells each piece of progress with `feed`, and says `rest` when
    nothing more is due (microphone unplugged or muted, no chunk left): a daemon that rests
    is alive. Each of these may be called from any thread. `check` is called every `period`
    seconds.
    """

    def __init__(
        self, ping: Callable[[], None], interval: float, clock: Clock = time.monotonic
    ) -> None:
        """`interval` is the manager's patience in seconds."""
        self.period = interval / 2
        """Seconds between checks, and how long something may go without progress."""
        self._ping, self._clock = ping, clock
        self._lock = threading.Lock()
        self._progress: dict[str, float] = {}
        self._reported: set[str] = set()

    def expect(self, name: str) -> None:
        """From now on `name` has to progress; repeated, it changes nothing."""
        with self._lock:
            self._progress.setdefault(name, self._clock())

    def feed(self, name: str) -> None:
        """`name` has progressed; without meaning where none was expected."""
        with self._lock:
            if name in self._progress:
                self._progress[name] = self._clock()

    def rest(self, name: str) -> None:
        """Nothing is due from `name`."""
        with self._lock:
            self._progress.pop(name, None)

    def stalled(self) -> list[str]:
        """What should have progressed and has not, in the order it was expected."""
        with self._lock:
            now = self._clock()
            return [name for name, last in self._progress.items() if now - last > self.period]

    def check(self) -> bool:
        """Ping if nothing is stalled, and tell whether it did."""
        stalled = self.stalled()
        if fresh := [name for name in stalled if name not in self._reported]:
            _log.error("no progress for %g s: %s", self.period, ", ".join(fresh))
        self._reported = set(stalled)
        if not stalled:
            self._ping()
        return not stalled


@dataclass(frozen=True)
class InheritedSocket:
    """A listening socket that the manager opened; its path must not be unlinked."""

    name: str
    """`FileDescriptorName=` of the socket unit, by default the name of the unit."""
    socket: socket.socket


def inherited_sockets(environ: MutableMapping[str, str] = os.environ) -> list[InheritedSocket]:
    """The sockets of socket activation, in the order of their units; none if not activated.

    To be called once: the variables are gone afterwards and the sockets have an owner.
    Raises ConfigError for what is no socket.
    """
    pid, count, names = (
        environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    if pid != str(os.getpid()) or not count:
        return []
    if not count.isdecimal():
        raise ConfigError(f"LISTEN_FDS must be a whole number, got {count!r}")
    labels = names.split(":") if names else []
    labels += ["unknown"] * (int(count) - len(labels))  # what sd_listen_fds_with_names says
    return [
        InheritedSocket(name, _socket(_FIRST_FD + i))
        for i, name in enumerate(labels[: int(count)])
    ]


def passed_in(
    inherited: Sequence[InheritedSocket], name: str, *, wanted: bool
) -> list[socket.socket]:
    """The stream sockets of one name; none, with a warning, where they are not wanted."""
    found = [passed.socket for passed in inherited if passed.name == name]
    if found and not wanted:
        _log.warning("the socket %s of systemd is switched off: nobody is served there", name)
        return []
    for listener in found:
        if listener.type != socket.SOCK_STREAM:
            raise ConfigError(f"the socket {name!r} of systemd is no stream socket")
    return found


def _socket(fd: int) -> socket.socket:
    try:
        is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError as error:
        raise ConfigError(f"file descriptor {fd} was announced but is not open") from error
    if not is_socket:
        raise ConfigError(f"file descriptor {fd} was passed in but is no socket")
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)
