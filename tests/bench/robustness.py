"""Word errors of the same recordings clean, in noise, in rooms, by telephone, soft and loud."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr.bundle import load_recognizer
from asr.metrics import ErrorCounts, character_errors, word_errors
from asr.training.augment import add_noise, reverberate
from asr.training.rooms import room_responses

from .measuring import Summary
from .sounds import (
    CHUNK_SECONDS,
    RATE,
    Samples,
    at_rate,
    draw,
    repeated,
    transcribe,
    unheard_noise,
)

SETS = ("librispeech-dev", "commonvoice-dev")
UTTERANCES = 60
SEED = 7
SNRS = (20, 10, 5)
RT60S = (0.3, 0.6)
ROOMS = 12
"""Simulated for each reverberation time."""
BAND = (300.0, 3400.0)
EDGE = 100.0
"""Hertz over which the telephone's band ends."""
GAINS = (-20, 10)

Change = Callable[[Samples, np.random.Generator], Samples]


def run(corpus: Path, count: int = UTTERANCES, decoder: str = "greedy") -> Summary:
    """Print the table for the model card."""
    torch.set_num_threads(1)
    recognizer = load_recognizer(decoder=decoder, chunk_seconds=CHUNK_SECONDS)
    sets = {name: draw(corpus, name, count, SEED) for name in SETS}
    sizes = ", ".join(f"{len(found)} recordings of {name}" for name, found in sets.items())
    print(f"WER (CER) of {sizes}, seed {SEED}, decoder {decoder}\n")
    print(f"| condition | {' | '.join(SETS)} |\n|---{'|---' * len(SETS)}|")
    summary: Summary = {}
    began = time.process_time()
    for place, (condition, change) in enumerate(conditions(unheard_noise(corpus)).items()):
        cells = []
        for name, utterances in sets.items():
            changed = [
                change(one.samples, np.random.default_rng((SEED, place, i)))
                for i, one in enumerate(utterances)
            ]
            words, characters = ErrorCounts(), ErrorCounts()
            for one, result in zip(utterances, transcribe(recognizer, changed), strict=True):
                words += word_errors(one.text, result.text)
                characters += character_errors(one.text, result.text)
            wer, cer = words.rate or 0.0, characters.rate or 0.0
            cells.append(f"{100 * wer:.1f} % ({100 * cer:.1f} %)")
            summary[f"wer, {decoder}, {name}, {condition}"] = round(wer, 4)
            summary[f"cer, {decoder}, {name}, {condition}"] = round(cer, 4)
        print(f"| {condition} | {' | '.join(cells)} |", flush=True)
    print(f"\n{time.process_time() - began:.0f} s CPU")
    return summary


def conditions(noise: Samples) -> dict[str, Change]:
    """What is done to the recordings, by name."""
    found: dict[str, Change] = {"clean": lambda samples, rng: samples}
    for snr in SNRS:
        found[f"kitchen noise, SNR {snr} dB"] = _noisy(noise, snr)
    for rt60 in RT60S:
        found[f"simulated rooms, RT60 {rt60} s"] = _in_rooms(rt60)
    found["telephone, 300 to 3400 Hz"] = lambda samples, rng: telephone(samples)
    for gain in GAINS:
        clipped = ", clipped" if gain > 0 else ""
        found[f"gain {gain:+} dB{clipped}"] = _amplified(gain)
    return found


def telephone(samples: Samples) -> Samples:
    """Through 8 kHz and back, with what a telephone lets pass."""
    narrow = at_rate(samples, RATE, RATE // 2)
    spectrum = np.fft.rfft(narrow)
    hertz = np.fft.rfftfreq(len(narrow), 2 / RATE)
    low, high = BAND
    passed = np.clip((hertz - low) / EDGE + 1, 0, 1) * np.clip((high - hertz) / EDGE + 1, 0, 1)
    filtered = np.fft.irfft(spectrum * passed, len(narrow)).astype(np.float32)
    return at_rate(filtered, RATE // 2, RATE)


def _noisy(noise: Samples, snr: float) -> Change:
    def change(samples: Samples, rng: np.random.Generator) -> Samples:
        start = int(rng.integers(len(noise)))
        piece = repeated(np.roll(noise, -start), len(samples))
        length = torch.tensor([len(samples)])
        return _array(add_noise(_row(samples), _row(piece), torch.tensor([snr]), length))

    return change


def _in_rooms(rt60: float) -> Change:
    with tempfile.TemporaryDirectory() as cache:
        rooms = room_responses(
            ROOMS, rt60=(rt60, rt60), sample_rate=RATE, seed=SEED, cache=Path(cache)
        )

    def change(samples: Samples, rng: np.random.Generator) -> Samples:
        room = int(rng.integers(len(rooms)))
        return _array(reverberate(_row(samples), rooms[room : room + 1]))

    return change


def _amplified(decibels: float) -> Change:
    factor = np.float32(10 ** (decibels / 20))
    return lambda samples, rng: np.clip(samples * factor, -1, 1)


def _row(samples: Samples) -> Tensor:
    return torch.from_numpy(samples)[None]


def _array(rows: Tensor) -> Samples:
    samples: Samples = rows[0].numpy()
    return samples
