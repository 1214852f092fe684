"""Open the outputs that the daemon's configuration names."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from asr.errors import ConfigError

from .config import OutputsConfig, read_token, socket_path
from .publishers.base import Publisher
from .publishers.broadcast import Broadcast
from .publishers.stdout import JsonPublisher, TextPublisher
from .systemd import InheritedSocket

log = logging.getLogger(__name__)

TRANSCRIPTS = "transcripts"
"""`FileDescriptorName=` of the socket that subscribers connect to."""


async def open_outputs(
    config: OutputsConfig,
    inherited: Sequence[InheritedSocket],
    began: Callable[[str], float],
    *,
    names: bool,
) -> tuple[list[Publisher], Broadcast]:
    """All publishers, the one of the sockets among them.

    `began` gives the Unix time at a stream's time 0; with `names` lines of text tell their
    stream. Raises ConfigError or OSError, and leaves nothing open then.
    """
    publishers: list[Publisher] = []
    if config.stdout == "text":
        publishers.append(TextPublisher(sys.stdout, names=names))
    elif config.stdout == "json":
        publishers.append(JsonPublisher(sys.stdout, began))
    broadcast = Broadcast(began)
    publishers.append(broadcast)
    try:
        await _open_sockets(config, inherited, broadcast)
    except BaseException:
        await broadcast.aclose()
        raise
    return publishers, broadcast


async def _open_sockets(
    config: OutputsConfig, inherited: Sequence[InheritedSocket], broadcast: Broadcast
) -> None:
    passed = [found.socket for found in inherited if found.name == TRANSCRIPTS]
    if config.socket == "off" and passed:
        log.warning("outputs.socket is off: nobody is served at the socket of systemd")
        passed = []
    for listener in passed:
        if listener.type != socket.SOCK_STREAM:
            raise ConfigError(f"the socket {TRANSCRIPTS!r} of systemd is no stream socket")
        await broadcast.listen_socket(listener)
    path = socket_path(config)
    if path is not None and not (passed and config.socket == "auto"):
        if config.socket == "auto":
            with suppress(FileExistsError):
                path.parent.mkdir(mode=0o700)
        await broadcast.listen_unix(path)
        log.info("transcripts are served at %s", path)
    if config.tcp.port:
        tcp = config.tcp
        port = await broadcast.listen_tcp(tcp.port, tcp.host, token=read_token(tcp))
        log.info("transcripts are served at %s, port %d", config.tcp.host, port)
