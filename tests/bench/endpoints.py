"""When utterances end: how late, whether too early, and how often speech becomes a command."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch

from asr.bundle import load_bundle
from asr.decoding.grammar import Grammar, load_grammar
from asr.locations import default_model_dir
from asr.manifest import Recording, evenly, read_manifest
from asr.vocabulary import Vocabulary
from service.config import WakeConfig
from service.wake import make_wake

from .live import (
    RATE,
    Ear,
    Samples,
    Told,
    frame_power,
    music,
    noises,
    read,
    recognizer_of,
    spoken_part,
    spread,
    with_noise,
)
from .measuring import Summary, manifest

SNR, BEFORE, AFTER = 15.0, 1.0, 4.0
HELD_OPEN = 2.0
"""Seconds after speech from where noise has held an utterance open."""
PAUSE, LONGER_PAUSE = 0.4, 0.5
MAX_FREE, MAX_COMMAND, MAX_SPLIT = 0.8, 0.45, 0.02
MAX_FALSE, MAX_FALSE_AWAKE = 4.0, 1.0


@dataclass(frozen=True)
class Bound:
    """A figure and what it may be."""

    key: str
    name: str
    found: float
    most: float
    count: int

    @property
    def kept(self) -> bool:
        """Whether the figure is what it may be."""
        return self.found <= self.most

    def tell(self) -> None:
        """Print it."""
        verdict = "passed" if self.kept else "missed"
        print(f"{self.name}: {self.found:.3f} of {self.count} (at most {self.most}): {verdict}",
              flush=True)  # fmt: skip


def run(corpus: Path, count: int) -> Summary:
    """Print the figures of the default decoder and home.yaml in the mode `normal`."""
    torch.set_num_threads(1)
    bundle = load_bundle(default_model_dir())
    grammar = load_grammar(corpus / "commands" / "home.yaml", bundle.vocabulary)
    free = Ear(recognizer_of(bundle, bundle.decoder()))
    within = Ear(recognizer_of(bundle, bundle.decoder(), grammar))
    wake = make_wake(within.recognizer.decoder, WakeConfig(("computer",)))
    commands = evenly(
        [r for name in ("kokoro-train", "home-dev") for r in read_manifest(manifest(corpus, name))
         if r.text and grammar.accepts(r.text)], count,
    )  # fmt: skip
    people = evenly(read_manifest(manifest(corpus, "commonvoice-dev")), count)
    readers = evenly(read_manifest(manifest(corpus, "librispeech-dev")), count)
    steady = noises(corpus, lambda kind: kind in STEADY)

    def measure() -> Iterator[Bound]:
        yield from latencies(free, within, commands, steady, grammar, bundle.vocabulary)
        yield held_open(within, commands, noises(corpus, lambda kind: kind in LIVELY))
        yield from splits(free, people, commands)
        others = [*people, *readers]
        yield false_commands(
            "false_commands_wake_hour", Ear(within.recognizer, wake), others, MAX_FALSE_AWAKE
        )
        yield false_commands("false_commands_hour", within, others, MAX_FALSE)

    found: list[Bound] = []
    for bound in measure():
        bound.tell()
        found.append(bound)
    figures: Summary = {
        # none was measured: JSON has no infinity
        bound.key: round(bound.found, 3) if math.isfinite(bound.found) else None
        for bound in found
    }
    return figures | {"passed": all(bound.kept for bound in found)}


STEADY = ("pink_noise", "white_noise", "running_tap", "exercise_bike", "rain", "sea-waves")
LIVELY = ("rooster", "dog-bark", "helicopter", "clock-tick", "chainsaw")


def latencies(
    free: Ear, within: Ear, commands: Sequence[Recording], noise: Sequence[Samples],
    grammar: Grammar, vocabulary: Vocabulary,
) -> Iterator[Bound]:
    """Audio between the end of speech and the last final, in noise."""
    late: list[float] = []
    done: list[float] = []
    open_ended: list[float] = []
    for recording, around in zip(commands, cycle(noise), strict=False):
        speech = spoken_part(read(recording.audio))
        audio = with_noise(speech, around, SNR, BEFORE, AFTER)
        end = BEFORE + len(speech) / RATE
        late += [told.at - end for told in free.hear(audio)[-1:]]
        for told in within.hear(audio)[-1:]:
            if told.final.understood:
                (open_ended if goes_on(told, grammar, vocabulary) else done).append(told.at - end)
    for name, values in (("free speech", late), ("a complete command", done),
                         ("a command that can go on", open_ended)):
        median, most = spread(values)
        print(f"{name}: decided {median:.2f} s after speech (median), {most:.2f} s (p95) "
              f"of {len(values)} at {SNR:.0f} dB")  # fmt: skip
    yield Bound("free_endpoint_s", "seconds to the end of free speech", spread(late)[0],
                MAX_FREE, len(late))  # fmt: skip
    yield Bound("command_endpoint_s", "seconds to the end of a complete command",
                spread(done)[0], MAX_COMMAND, len(done))  # fmt: skip
    hasty = sum(value < LONGER_PAUSE for value in open_ended)
    yield Bound("hasty", "share of commands that can go on, yet end within 0.5 s",
                hasty / max(1, len(open_ended)), MAX_SPLIT, len(open_ended))  # fmt: skip


def goes_on(told: Told, grammar: Grammar, vocabulary: Vocabulary) -> bool:
    """Whether a longer sentence begins like this one."""
    state = grammar.state_after(vocabulary.encode(told.final.text))
    return bool(grammar.continues(np.array([state], np.int32))[0])


def held_open(within: Ear, commands: Sequence[Recording], noise: Sequence[Samples]) -> Bound:
    """Share of commands that noise behind them holds open."""
    kept = 0
    for recording, around in zip(commands, cycle([music(5.0), *noise]), strict=False):
        speech = spoken_part(read(recording.audio))
        told = within.hear(with_noise(speech, around, 10.0, 0.0, AFTER))
        first = min((t.at for t in told), default=0.0)
        kept += first > len(speech) / RATE + HELD_OPEN
    return Bound("held_open", "share of commands that music or noise at 10 dB holds open for 2 s",
                 kept / max(1, len(commands)), 0.05, len(commands))  # fmt: skip


def splits(
    free: Ear, people: Sequence[Recording], commands: Sequence[Recording]
) -> Iterator[Bound]:
    """Share of utterances in pieces."""
    whole = [read(recording.audio) for recording in people]
    paused = [with_pause(spoken_part(read(recording.audio))) for recording in commands]
    for key, name, audio in (
        ("split", "share of commonvoice-dev in pieces", whole),
        ("split_paused", f"share of commands with a pause of {PAUSE} s in pieces", paused),
    ):
        pieces = sum(len(free.hear(samples)) > 1 for samples in audio)
        yield Bound(key, name, pieces / max(1, len(audio)), MAX_SPLIT, len(audio))


def with_pause(speech: Samples) -> Samples:
    """A pause at the quietest place in the middle."""
    power = frame_power(speech)
    quarter = len(power) // 4
    at = (quarter + int(power[quarter : 3 * quarter].argmin())) * 160 + 80
    pause = np.zeros(round(PAUSE * RATE), np.float32)
    return np.concatenate((speech[:at], pause, speech[at:]))


def false_commands(
    key: str, within: Ear, speech: Sequence[Recording], most: float
) -> Bound:
    """Commands an hour in speech that holds none, one stream with pauses of a second."""
    pause = np.zeros(RATE, np.float32)
    audio = np.concatenate([part for r in speech for part in (read(r.audio), pause)])
    hours = len(audio) / RATE / 3600
    taken = [told.final.text for told in within.hear(audio) if told.final.understood]
    print(f"{len(taken)} commands in {hours:.2f} h of other speech"
          f"{'' if within.wake is None else ' with a wake phrase'}: "
          f"{', '.join(islice(taken, 10))}")  # fmt: skip
    return Bound(key, f"{key} (a small sample says little)" if hours < 1 else key,
                 len(taken) / hours, most, len(speech))  # fmt: skip
