"""Open the outputs that the daemon's configuration names."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .output_config import KeepAudioConfig, OutputsConfig, read_token, socket_path
from .publishers.base import Publisher
from .publishers.broadcast import Broadcast
from .publishers.command import CommandPublisher
from .publishers.stdout import JsonPublisher, TextPublisher
from .recording import Recorder
from .systemd import InheritedSocket, passed_in
from .unix_sockets import make_folder

log = logging.getLogger(__name__)

TRANSCRIPTS = "transcripts"
"""`FileDescriptorName=` of the socket that subscribers connect to."""


class Outputs:
    """Publishers of events, and the recorder of audio."""

    def __init__(
        self,
        config: OutputsConfig,
        kept: KeepAudioConfig,
        began: Callable[[str], float],
        *,
        names: bool,
    ) -> None:
        """`began` gives the Unix time at a stream's time 0; with `names` lines of text tell
        their stream. Raises ConfigError for a program that is not there."""
        self._config = config
        self.broadcast = Broadcast(began)
        self.publishers: list[Publisher] = [self.broadcast]
        if config.stdout == "text":
            self.publishers.append(TextPublisher(sys.stdout, names=names))
        elif config.stdout == "json":
            self.publishers.append(JsonPublisher(sys.stdout, began))
        self.command = None
        if config.command.run:
            self.command = CommandPublisher(
                config.command.run, began, only=config.command.only,
                timeout=config.command.timeout, concurrency=config.command.concurrency,
            )  # fmt: skip
            self.publishers.append(self.command)
        self.recorder = None
        if kept.folder:
            self.recorder = Recorder(Path(kept.folder), began, max_mb=kept.max_mb)

    async def open(self, inherited: Sequence[InheritedSocket]) -> None:
        """Let subscribers connect. Raises ConfigError or OSError, and leaves nothing open then."""
        try:
            await self._open_sockets(inherited)
        except BaseException:
            await self.broadcast.aclose()
            raise

    def losses(self) -> dict[str, int]:
        """What was not delivered, for `asrd status`."""
        found = {}
        if self.command is not None:
            found["commands_dropped"] = self.command.dropped
        if self.recorder is not None:
            found |= {"audio_kept": self.recorder.kept, "audio_lost": self.recorder.lost}
        return found

    async def _open_sockets(self, inherited: Sequence[InheritedSocket]) -> None:
        config = self._config
        passed = passed_in(inherited, TRANSCRIPTS, wanted=config.socket != "off")
        for listener in passed:
            await self.broadcast.listen_socket(listener)
        path = socket_path(config)
        if path is not None and not (passed and config.socket == "auto"):
            if config.socket == "auto":
                make_folder(path.parent)
            await self.broadcast.listen_unix(path)
            log.info("transcripts are served at %s", path)
        if config.tcp.port:
            port = await self.broadcast.listen_tcp(
                config.tcp.port, config.tcp.host, read_token(config.tcp)
            )
            log.info("transcripts are served at %s, port %d", config.tcp.host, port)
