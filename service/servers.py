"""What others connect to in order to control or to measure the daemon."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from .config import DaemonConfig
from .control import Controlled, ControlServer
from .metrics import MetricsServer
from .output_config import control_path
from .systemd import InheritedSocket, passed_in
from .unix_sockets import make_folder

log = logging.getLogger(__name__)

CONTROL = "control"
"""`FileDescriptorName=` of the control socket."""


class Servers:
    """The control socket and the metrics page, where the configuration wants them."""

    def __init__(self, controlled: Controlled) -> None:
        self._control, self._metrics = ControlServer(controlled), MetricsServer(controlled)

    async def open(self, config: DaemonConfig, inherited: Sequence[InheritedSocket]) -> None:
        """Serve from now on. Raises ConfigError or OSError, and leaves nothing open then."""
        try:
            await self._open(config, inherited)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self, seconds: float = 1.0) -> None:
        """Disconnect everyone; audio that is ending gets so long."""
        await self._control.aclose(seconds)
        await self._metrics.aclose()

    async def _open(self, config: DaemonConfig, inherited: Sequence[InheritedSocket]) -> None:
        passed = passed_in(inherited, CONTROL, wanted=config.outputs.control != "off")
        for listener in passed:
            await self._control.listen_socket(listener)
        path = control_path(config.outputs)
        automatic = config.outputs.control == "auto"
        if path is not None and not (passed and automatic):
            if automatic:
                make_folder(path.parent)
            await self._control.listen_unix(path)
            log.info("the control socket is %s", path)
        if config.metrics.port:
            port = await self._metrics.listen(config.metrics.port)
            log.info("metrics are served at http://127.0.0.1:%d/metrics", port)
