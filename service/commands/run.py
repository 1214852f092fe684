"""`asrd run`: the daemon, as a service manager or a person starts it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import UsageError

if TYPE_CHECKING:
    from service.config import DaemonConfig
    from service.sources.base import Inlet

DESCRIPTION = """\
Listen to all microphones of the configuration and send what is said to its outputs, until
SIGTERM or Ctrl-C, which finish the last utterance. SIGHUP reads the configuration anew. Without
--config it is $XDG_CONFIG_HOME/asrd/asrd.toml or /etc/asrd/asrd.toml, and the defaults where
there is neither.
"""

SYSTEM_CONFIG = Path("/etc/asrd/asrd.toml")
LOAD_SECONDS = 120.0
"""Asked of the service manager for the sources, once the model is there."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("run", help="run the daemon", description=DESCRIPTION)
    parser.add_argument("--config", type=Path, metavar="FILE", help="its settings")


def run(args: argparse.Namespace) -> int:
    """Run it; UsageError for a mistake in the configuration."""
    from asr.errors import ConfigError
    from service.systemd import Notifier, Watchdog, inherited_sockets, watchdog_interval

    # until the daemon can reload: by default a hang-up ends the process
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    notifier, interval, inherited = (
        Notifier.from_environment(), watchdog_interval(), inherited_sockets()
    )  # fmt: skip
    watchdog = Watchdog(notifier.watchdog, interval) if interval is not None else None
    path = args.config if args.config is not None else find_config()
    try:
        config = _read(path)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    logging.basicConfig(format="asrd: %(message)s")

    import torch

    from asr.bundle import load_bundle
    from asr.locations import default_model_dir
    from service.behaviour import load_behaviour
    from service.daemon import Daemon, set_log_level
    from service.gate import silero_detector

    set_log_level(config)
    torch.set_num_threads(config.recognition.threads)
    notifier.status("loading the model")
    model = config.recognition.model
    bundle = load_bundle(Path(model) if model else default_model_dir())
    behaviour = load_behaviour(bundle, config)
    if config.gate.enabled:
        silero_detector()  # told now, where it is missing
    inlets = _microphones(config)
    notifier.extend_timeout(LOAD_SECONDS)

    async def serve() -> None:
        daemon = Daemon(
            config, bundle, behaviour, inlets, reread=lambda: _read(path),
            notifier=notifier, watchdog=watchdog, inherited=inherited,
        )  # fmt: skip
        await daemon.run()

    asyncio.run(serve())
    sys.stdout.flush()
    logging.shutdown()
    # all is closed. The interpreter would go on to take torch apart for most of a second, on a slow
    # board for several: then no stop is done in two seconds
    os._exit(0)


def find_config() -> Path | None:
    """The configuration to use where none is named: one's own, else that of the system."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    own = Path(base) / "asrd" / "asrd.toml"
    return next((path for path in (own, SYSTEM_CONFIG) if path.is_file()), None)


def _read(path: Path | None) -> DaemonConfig:
    from service.config import DaemonConfig
    from service.config_file import read_config
    from service.output_config import read_token

    config = DaemonConfig() if path is None else read_config(path)
    read_token(config.outputs.tcp)  # a short one is a mistake like others
    return config


def _microphones(config: DaemonConfig) -> list[Inlet]:
    from service.sources.microphone import Microphone
    from service.sources.port_audio import PortAudio

    if not config.microphones:
        return []
    shared = PortAudio()
    return [Microphone(m.device or None, m.name, port_audio=shared) for m in config.microphones]
