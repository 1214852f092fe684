"""What live listening costs: an idle microphone, the time to a final, memory over hours."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import torch

from asr.bundle import load_bundle
from asr.decoding.grammar import load_grammar
from asr.locations import default_model_dir
from asr.manifest import evenly, read_manifest
from service.events import Final
from service.transcriber import StreamTranscriber

from .decoders import in_fresh_process
from .live import RATE, Ear, Samples, read, recognizer_of, spread
from .measuring import Summary, manifest

IDLE_RATE, IDLE_SECONDS, IDLE_BLOCK = 48_000, 60, 0.05
MAX_IDLE, MAX_FINAL_SECONDS, MAX_GROWTH_MB = 0.03, 0.15, 20.0
STREAMS = 16
SETTLED = 1.0
"""Hours of audio after which memory has to stay; half of a shorter run."""
SAMPLE_EVERY = 60.0


def run(corpus: Path, count: int, hours: float) -> Summary:
    """Print the figures of the default decoder and home.yaml."""
    grammar = corpus / "commands" / "home.yaml"
    share, idle_growth = idle(grammar)
    print(f"idle at {IDLE_RATE} Hz: {share:.2%} of a core (at most {MAX_IDLE:.0%}), "
          f"memory {idle_growth:+.1f} MB in {IDLE_SECONDS} s")  # fmt: skip
    median, most = finals(corpus, grammar, count)
    print(f"from an endpoint to its final: {1000 * median:.0f} ms CPU (median), "
          f"{1000 * most:.0f} ms (largest; at most {1000 * MAX_FINAL_SECONDS:.0f})")  # fmt: skip
    growth, peak = in_fresh_process(soak, corpus, grammar, hours)
    print(f"{hours} h through {STREAMS} streams at once: memory {growth:+.1f} MB after the first "
          f"{min(SETTLED, hours / 2):.2f} h (at most {MAX_GROWTH_MB:.0f}), "
          f"{peak:.0f} MB at most")  # fmt: skip
    return {
        "idle_share": round(share, 4), "idle_growth_mb": round(idle_growth, 1),
        "final_ms": round(1000 * median), "final_max_ms": round(1000 * most),
        "soak_hours": hours, "soak_growth_mb": round(growth, 1),
        "passed": share <= MAX_IDLE and most <= MAX_FINAL_SECONDS and growth <= MAX_GROWTH_MB,
    }


def idle(grammar: Path, seconds: int = IDLE_SECONDS) -> tuple[float, float]:
    """Share of a core and memory growth of `asrd listen` on a silent room in real time."""
    command = [
        sys.executable, "-m", "service.cli", "listen", "--input", "-",
        "--rate", str(IDLE_RATE), "--grammar", str(grammar),
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    block = rng.normal(0, 3, round(IDLE_BLOCK * IDLE_RATE)).astype("<i2").tobytes()  # -80 dBFS
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=env) as process:
        assert process.stdin is not None

        def feed(seconds: float) -> None:
            due = time.monotonic()
            for _ in range(round(seconds / IDLE_BLOCK)):
                assert process.stdin is not None
                process.stdin.write(block)
                process.stdin.flush()
                due += IDLE_BLOCK
                time.sleep(max(0.0, due - time.monotonic()))

        # a pipe holds less than a second: it is listening once it has taken five
        feed(5)
        before, resident = cpu_seconds_of(process.pid), resident_mb(process.pid)
        feed(seconds)
        # of the audio's seconds: a busy machine may take longer over them
        share = (cpu_seconds_of(process.pid) - before) / seconds
        growth = resident_mb(process.pid) - resident
        process.stdin.close()
        process.wait()
    return share, growth


def finals(corpus: Path, grammar: Path, count: int) -> tuple[float, float]:
    """Median and largest CPU seconds from an endpoint's decision to its final."""
    torch.set_num_threads(1)
    bundle = load_bundle(default_model_dir())
    ear = Ear(recognizer_of(bundle, bundle.decoder(), load_grammar(grammar, bundle.vocabulary)))
    recordings = evenly(read_manifest(manifest(corpus, "home-dev")), count)
    pause = np.zeros(2 * RATE, np.float32)
    audio = [part for recording in recordings for part in (read(recording.audio), pause)]
    took = [told.cpu_seconds for told in ear.hear(np.concatenate(audio))]
    return spread(took)[0], max(took, default=0.0)


def soak(corpus: Path, grammar: Path, hours: float) -> tuple[float, float]:
    """Growth of resident memory once settled, and its peak, in MB; for a fresh process."""
    torch.set_num_threads(1)
    bundle = load_bundle(default_model_dir())
    recognizer = recognizer_of(bundle, bundle.decoder(), load_grammar(grammar, bundle.vocabulary))
    ear = Ear(recognizer)
    streams = [ear.transcriber() for _ in range(STREAMS)]
    sources = [speech(corpus, offset) for offset in range(STREAMS)]
    settled, peak, heard, sampled = 0.0, 0.0, 0.0, 0.0
    every = min(SAMPLE_EVERY, hours * 3600 / 20)  # some of them before it has settled
    while heard < hours * 3600:
        for transcriber, source in zip(streams, sources, strict=True):
            block = next(source)
            transcriber.accept(block)
            heard += len(block) / RATE
        step_all(ear, streams)
        if heard - sampled >= every:
            sampled, resident = heard, resident_mb(os.getpid())
            peak = max(peak, resident)
            if heard <= 3600 * min(SETTLED, hours / 2):
                settled = max(settled, resident)
    return peak - settled, peak


def step_all(ear: Ear, streams: list[StreamTranscriber]) -> int:
    """One batch after the other while any is ready; how many finals there were."""
    count = 0
    while ready := [t for t in streams if t.session.ready]:
        ear.recognizer.step([t.session for t in ready])
        count += sum(isinstance(e, Final) for t in ready for e in t.events())
    return count


def speech(corpus: Path, offset: int) -> Iterator[Samples]:
    """Blocks of 0.1 s without end, a pause of 3 s after each recording."""
    recordings = read_manifest(manifest(corpus, "librispeech-dev"))
    start = offset * len(recordings) // STREAMS
    pause = np.zeros(3 * RATE, np.float32)
    for recording in cycle(recordings[start:] + recordings[:start]):
        audio = np.concatenate((read(recording.audio), pause))
        for at in range(0, len(audio), RATE // 10):
            yield audio[at : at + RATE // 10]


def cpu_seconds_of(pid: int) -> float:
    """User and system time of a process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/{pid}/status has no VmRSS")
