"""Words that are heard where nobody speaks: silence, noise and music."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from asr.bundle import load_bundle, load_recognizer
from asr.errors import ConfigError
from asr.locations import default_model_dir
from asr.streaming import Recognizer
from service.events import Event, Final
from service.gate import Gate, GateRules, silero_detector
from service.transcriber import StreamTranscriber

from . import music
from .measuring import BLOCK, Summary
from .sounds import (
    CHUNK_SECONDS,
    RATE,
    Samples,
    at_level,
    repeated,
    transcribe,
    unheard_noise,
    white,
)

MINUTES = 10.0
SEED = 11
MAX_GREEDY, MAX_DEFAULT = 1.0, 0.0
"""False words a minute of live audio."""
SHOWN = 6
"""Of the false words, as examples."""


@dataclass(frozen=True)
class Live:
    """What the live path made of one sound."""

    words: list[str]
    open_seconds: float
    """How long the gate let the network hear it."""


def run(corpus: Path | None, minutes: float = MINUTES) -> Summary:
    """Print the table."""
    torch.set_num_threads(1)
    began = time.process_time()
    sounds = make_sounds(corpus, minutes)
    print(f"false words a minute, {minutes:g} minutes each, seed {SEED}")
    try:
        silero_detector()
    except ConfigError as error:
        print(f"the live path is skipped: {error}")
        live_sounds = {}
    else:
        live_sounds = sounds
    default = load_bundle(default_model_dir()).manifest.decoder
    print("\n| sound | decoder | live, with gate | gate open | file, no gate | words |")
    print("|---|---|---|---|---|---|")
    summary: Summary = {}
    passed = True
    for decoder in dict.fromkeys(("greedy", default)):
        bound = MAX_GREEDY if decoder == "greedy" else MAX_DEFAULT
        live = listen(load_recognizer(decoder=decoder), live_sounds)
        recognizer = load_recognizer(decoder=decoder, chunk_seconds=CHUNK_SECONDS)
        results = transcribe(recognizer, list(sounds.values()))
        for name, result in zip(sounds, results, strict=True):
            in_file = result.text.split()
            summary[f"false words, {decoder}, file, {name}"] = len(in_file) / minutes
            cells, words = ["-", "-"], in_file
            if name in live:
                heard = live[name]
                rate = len(heard.words) / minutes
                passed &= rate <= bound
                missed = "" if rate <= bound else f" (at most {bound:g}: missed)"
                cells = [f"{rate:.1f}{missed}", f"{heard.open_seconds / minutes / 60:.0%}"]
                words = heard.words or in_file
                summary[f"false words, {decoder}, live, {name}"] = rate
            shown = " ".join(words[:SHOWN])
            print(f"| {name} | {decoder} | {' | '.join(cells)} | {len(in_file) / minutes:.1f} "
                  f"| {shown} |", flush=True)
    print(f"\n{time.process_time() - began:.0f} s CPU; live at most {MAX_GREEDY:g} a minute "
          f"greedy, {MAX_DEFAULT:g} with {default}: {'passed' if passed else 'missed'}")
    return summary | {"passed": passed}


def make_sounds(corpus: Path | None, minutes: float) -> dict[str, Samples]:
    """The sounds by name; what cannot be made is told and left out."""
    rng, count = np.random.default_rng(SEED), round(minutes * 60 * RATE)
    sounds = {
        "digital silence": np.zeros(count, np.float32),
        "noise at -60 dBFS": white(count, -60, rng),
        "white noise at -30 dBFS": white(count, -30, rng),
    }
    if corpus is None:
        print("kitchen noise needs CORPUS=/path/to/corpus: skipped")
    else:
        sounds["kitchen noise"] = repeated(unheard_noise(corpus), count)
    if reason := music.unavailable():
        print(f"music skipped: {reason}")
    else:
        sounds["music at -20 dBFS"] = at_level(music.render(count, SEED), -20)
    return sounds


def listen(recognizer: Recognizer, sounds: dict[str, Samples]) -> dict[str, Live]:
    """All sounds at once as live streams, each with a gate of its own."""
    gates = {name: Gate(silero_detector, GateRules()) for name in sounds}
    streams = {
        name: StreamTranscriber(name, recognizer, RATE, partials=False, gate=gate)
        for name, gate in gates.items()
    }
    words: dict[str, list[str]] = {name: [] for name in sounds}
    opened = dict.fromkeys(sounds, 0.0)

    def drain() -> None:
        while ready := [name for name, stream in streams.items() if stream.session.ready]:
            recognizer.step([streams[name].session for name in ready])
            for name in ready:
                keep(name, streams[name].events())

    def keep(name: str, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Final):
                words[name] += event.text.split()

    for at in range(0, max(map(len, sounds.values()), default=0), BLOCK):
        for name, samples in sounds.items():
            streams[name].accept(samples[at : at + BLOCK])
            opened[name] += gates[name].is_open * BLOCK / RATE
        drain()
    for stream in streams.values():
        stream.finish()
    drain()
    for name, stream in streams.items():
        keep(name, stream.last_events())
    return {name: Live(words[name], opened[name]) for name in sounds}
