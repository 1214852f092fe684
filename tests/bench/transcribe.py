"""Speed and memory of `asrd transcribe`, measured on real processes.

With CORPUS=/path/to/corpus the audio is that of librispeech-dev, one
recording after the other; else the bundled recording, over and over. Where pocketsphinx is
installed (`pip install pocketsphinx`) its speed on the same minute is measured in the same
run: machines differ, ratios less so.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import soundfile

from asr.bundle import load_recognizer
from asr.locations import default_model_dir
from asr.manifest import read_manifest

from .measuring import REPEATS, Summary

RATE = 16_000
MINUTE, HOUR = 60, 3600
MAX_GROWTH_MB, MAX_RTF = 60, 0.05

POCKETSPHINX = """
import sys, soundfile
from pocketsphinx import Decoder
samples, _ = soundfile.read(sys.argv[1], dtype="int16")
decoder = Decoder(samprate=16000, loglevel="FATAL")
decoder.start_utt()
for at in range(0, len(samples), 1600):
    decoder.process_raw(samples[at : at + 1600].tobytes(), False, False)
decoder.end_utt()
"""


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    cpu_seconds: float
    peak_mb: float


def speech() -> Iterator[Path]:
    """Recordings to concatenate, without end."""
    corpus = os.environ.get("CORPUS")
    if corpus:
        manifest = Path(corpus) / "manifests" / "librispeech-dev.jsonl"
        return cycle([recording.audio for recording in read_manifest(manifest)])
    return cycle(sorted(default_model_dir().glob("*.wav")))


def write_audio(path: Path, seconds: int) -> None:
    """Exactly so many seconds of speech."""
    missing = seconds * RATE
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as out:
        for recording in speech():
            samples, rate = soundfile.read(recording, dtype="float32")
            assert rate == RATE, f"{recording}: expected {RATE} Hz"
            out.write(samples[:missing])
            missing -= len(samples)
            if missing <= 0:
                return


def measure(command: list[str]) -> Cost:
    """Run a command to its end. ru_maxrss is in KiB on Linux."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with status {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(costs: list[Cost]) -> Cost:
    """Each figure's median."""
    return Cost(
        statistics.median(cost.cpu_seconds for cost in costs),
        statistics.median(cost.peak_mb for cost in costs),
    )


def bench_peer(minute: Path, ours: Cost) -> None:
    """The same minute through pocketsphinx, if it is there."""
    if importlib.util.find_spec("pocketsphinx") is None:
        print("pocketsphinx is not installed: no peer measured")
        return
    peer = measure([sys.executable, "-c", POCKETSPHINX, str(minute)])
    print(f"pocketsphinx, one minute: {peer.cpu_seconds:.2f} s CPU, {peer.peak_mb:.0f} MB")
    print(f"asrd takes {ours.cpu_seconds / peer.cpu_seconds:.2f} of its time, start included")


def bench_batching(folder: Path) -> None:
    """Cost of a second of audio when many streams share each step."""
    import time

    import torch

    torch.set_num_threads(1)
    recognizer = load_recognizer()
    samples, _ = soundfile.read(folder / "minute.wav", dtype="float32")
    samples = np.ascontiguousarray(samples[: 20 * RATE])
    for streams in (1, 8, 32):
        sessions = [recognizer.new_session(RATE) for _ in range(streams)]
        for session in sessions:
            session.accept(samples)
        began = time.process_time()
        while ready := [session for session in sessions if session.ready]:
            recognizer.step(ready)
        rtf = (time.process_time() - began) / (20 * streams)
        print(f"{streams:3} streams in one batch: model and search RTF {rtf:.4f} each")


def run() -> Summary:
    """Print the figures."""
    command = [sys.executable, "-m", "service.cli", "transcribe", "--decoder", "greedy"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        minute, hour = folder / "minute.wav", folder / "hour.wav"
        write_audio(minute, MINUTE)
        write_audio(hour, HOUR)
        short = median([measure([*command, str(minute)]) for _ in range(REPEATS)])
        long = measure([*command, str(hour)])
        rtf = (long.cpu_seconds - short.cpu_seconds) / (HOUR - MINUTE)
        growth = long.peak_mb - short.peak_mb
        print(f"one minute: {short.cpu_seconds:.2f} s CPU, start included, {short.peak_mb:.0f} MB")
        print(f"one hour:   {long.cpu_seconds:.2f} s CPU, start included, {long.peak_mb:.0f} MB")
        print(f"memory of an hour over a minute: {growth:+.1f} MB (at most {MAX_GROWTH_MB})")
        print(f"RTF, one stream, one thread, greedy: {rtf:.4f} (at most {MAX_RTF})")
        bench_peer(minute, short)
        bench_batching(folder)
    return {
        "rtf": round(rtf, 4), "growth_mb": round(growth, 1),
        "passed": growth <= MAX_GROWTH_MB and rtf <= MAX_RTF,
    }
