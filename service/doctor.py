"""What may be wrong with this installation: each check gives lines with what to do.

Checks need neither a running daemon nor a sound system; what is absent is a finding.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .config import DaemonConfig, MicrophoneConfig, RecognitionConfig
from .config_file import read_config

if TYPE_CHECKING:
    from asr.streaming import Recognizer
    from service.sources.port_audio import PortAudio

Level = Literal["ok", "warn", "FAIL"]

SILENT_PEAK, LOUD_PEAK = 1e-4, 0.99
SPEED_RUNS = 3
"""Seconds of audio that are timed; the best counts, others may be using the CPU too."""


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis."""

    level: Level
    name: str
    text: str


def guarded(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check, of which one is that it failed itself."""
    try:
        yield from check()
    except Exception as error:  # a task boundary: the other checks must still be made
        text = str(error) or type(error).__name__
        yield Finding("FAIL", name, " ".join(text.split()))


def find_config() -> Path | None:
    """The configuration that a service of this user, or of the system, would read."""
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    paths = (base / "asrd" / "asrd.toml", Path("/etc/asrd/asrd.toml"))
    return next((path for path in paths if path.is_file()), None)


class Doctor:
    """Makes the checks one after another; later ones use what earlier ones have loaded."""

    def __init__(self, config: Path | None = None) -> None:
        self._path = config or find_config()
        self.config = DaemonConfig()
        self._recognizer: Recognizer | None = None

    def configuration(self) -> Iterator[Finding]:
        """That the file is there and valid; `config` is its settings afterwards."""
        if self._path is None:
            yield Finding("ok", "configuration",
                          "no file, defaults hold; asrd config init writes one")  # fmt: skip
            return
        self.config = read_config(self._path)  # its error names file and line
        yield Finding("ok", "configuration", str(self._path))

    def model(self) -> Iterator[Finding]:
        """That the model is whole and can be used as configured."""
        from asr.bundle import load_bundle
        from asr.locations import default_model_dir

        from .behaviour import load_behaviour

        settings = self.config.recognition
        bundle = load_bundle(Path(settings.model) if settings.model else default_model_dir())
        # with grammar, hot words and wake phrase: a mistake there keeps the daemon from starting
        decoder = load_behaviour(bundle, self.config).decoder
        self._recognizer = bundle.recognizer(decoder)
        name = settings.decoder or bundle.manifest.decoder
        yield Finding(
            "ok", "model",
            f"{bundle.manifest.name} in {bundle.path}, checksums match, decoder {name}",
        )  # fmt: skip

    def speed(self) -> Iterator[Finding]:
        """That this CPU recognises faster than people speak."""
        if self._recognizer is None:
            yield Finding("warn", "speed", "not measured without a model")
            return
        cores = len(os.sched_getaffinity(0))
        yield speed_finding(self.config.recognition, *self._measured(self._recognizer), cores)

    def _measured(self, recognizer: Recognizer) -> tuple[float, float]:
        """Wall-clock and CPU seconds that a second of audio takes."""
        import numpy as np
        import torch

        torch.set_num_threads(self.config.recognition.threads)
        noise = np.random.default_rng(0).normal(0, 0.1, recognizer.sample_rate)
        samples, runs = noise.astype(np.float32), []
        for _ in range(1 + SPEED_RUNS):
            began = time.perf_counter(), time.process_time()
            session = recognizer.new_session(recognizer.sample_rate)
            session.accept(samples)
            session.finish()
            while session.ready:
                recognizer.step([session])
            session.transcript(final=True)
            runs.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        return min(runs[1:])  # the first one prepares what others use again

    def microphones(self) -> Iterator[Finding]:
        """That each of the configured microphones is there, opens, and hears something."""
        if not self.config.microphones:
            yield Finding("ok", "microphone", "none is configured")
            return
        if find_spec("sounddevice") is None:
            advice = "not checked: pip install 'asrd[mic]', or set microphones = []"
            yield Finding("warn", "microphone", advice)
            return
        from service.sources.port_audio import PortAudio

        port_audio = PortAudio()  # ConfigError says what to install
        devices = port_audio.inputs()
        if not devices:
            yield Finding("FAIL", "microphone",
                          "no input device: plug one in, or set microphones = []; as a system "
                          "service asrd needs ALSA devices in /dev/snd")  # fmt: skip
            return
        for microphone in self.config.microphones:
            check = partial(_heard, microphone, port_audio)
            yield from guarded(f"microphone {microphone.name}", check)


def speed_finding(settings: RecognitionConfig, rtf: float, cpu: float, cores: int) -> Finding:
    """What it means that a second of audio takes that long, and that much CPU, on these cores."""
    threads = settings.threads
    text = f"real-time factor {rtf:.3f} with recognition.threads = {threads} on {cores} CPU cores"
    if rtf > 0.5 and cpu < rtf / 2:
        text += ": the CPU is busy with something else, measure again without it"
        return Finding("warn", "speed", text)
    if rtf >= 1:
        text += ': too slow for live audio; try recognition.decoder = "greedy" or a smaller model'
        return Finding("FAIL", "speed", text)
    if threads > cores:
        return Finding("warn", "speed", f"{text}: more threads than cores make it slower")
    if rtf > 0.5:
        return Finding("warn", "speed", f"{text}: one stream is all that it can take")
    return Finding("ok", "speed", text)


def _heard(microphone: MicrophoneConfig, port_audio: PortAudio) -> Iterator[Finding]:
    import numpy as np

    name = f"microphone {microphone.name}"
    device, rate, peak, seconds = asyncio.run(_listen(microphone, port_audio))
    level = f"{device} at {rate} Hz, peak {20 * np.log10(max(peak, 1e-5)):.0f} dB"
    if not seconds:
        yield Finding("FAIL", name, f"{device} opens but gives no audio: is it in use, unplugged?")
    elif peak < SILENT_PEAK:
        yield Finding("warn", name, f"{level}: silent; muted, or the wrong one (asrd devices)?")
    elif peak >= LOUD_PEAK:
        yield Finding("warn", name, f"{level}: clipping; turn it down (asrd devices --meter)")
    else:
        yield Finding("ok", name, level)


async def _listen(
    microphone: MicrophoneConfig, port_audio: PortAudio
) -> tuple[str, int, float, float]:
    """Device, rate, peak and duration of about a second."""
    import numpy as np

    from service.sources.microphone import UNPLUGGED_SECONDS, MicrophoneSource
    from service.sources.port_audio import NoInput

    source = MicrophoneSource(microphone.name, port_audio, UNPLUGGED_SECONDS)
    try:
        source.start(microphone.device or None, False)
    except NoInput as error:
        hint = "asrd devices lists what there is, a running asrd may hold it"
        raise NoInput(f"{error}; {hint}") from error
    peak, count = 0.0, 0
    try:
        async for samples in source:
            peak, count = max(peak, float(np.abs(samples).max(initial=0))), count + len(samples)
            if count >= source.sample_rate:
                break
    finally:
        source.close()
    return source.device, source.sample_rate, peak, count / source.sample_rate
