"""Long streams: the acoustic state at endpoints, silence around speech, gaps between speech."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from asr.bundle import load_recognizer
from asr.metrics import ErrorCounts, correct_words, word_errors
from asr.streaming import Recognizer
from service.events import Event, Final
from service.transcriber import StreamTranscriber

from .measuring import BLOCK, Summary
from .sounds import (
    CHUNK_SECONDS,
    RATE,
    ROOM_TONE,
    Samples,
    Utterance,
    draw,
    shuffled,
    transcribe,
    white,
)

SETS = ("librispeech-dev", "commonvoice-dev")
MINUTES = 10.0
WINDOWS = ((0.0, 0.2), (0.4, 0.6), (0.8, 1.0))
"""Shares of a stream in which drift would show: minutes 0 to 2, 4 to 6, 8 to 10."""
BETWEEN = 1.6
"""Seconds between the utterances of the long stream: enough for an endpoint."""
UTTERANCES = 30
"""Of each set, for silences and gaps."""
SILENCES = ((0.0, 0.0), (2.0, 0.0), (10.0, 0.0), (0.0, 5.0))
"""Seconds before and after the speech."""
GAPS = (0.3, 1.0, 3.0)
SEED = 5
CERTAIN = 2.0
"""Standard errors from which on a difference is not taken for chance."""


@dataclass(frozen=True)
class Track:
    """Utterances one after the other in room tone; places in samples."""

    samples: Samples
    utterances: tuple[Utterance, ...]
    places: tuple[tuple[int, int], ...]
    """Begin and end of each, half of the silence around it included."""


def run(
    corpus: Path, minutes: float = MINUTES, count: int = UTTERANCES, decoder: str = "greedy"
) -> Summary:
    """Print the tables and what follows from them."""
    torch.set_num_threads(1)
    began = time.process_time()
    print(f"decoder {decoder}, seed {SEED}, room tone {ROOM_TONE:g} dBFS\n")
    files = load_recognizer(decoder=decoder, chunk_seconds=CHUNK_SECONDS)
    tracks = [track(corpus, name, minutes) for name in SETS]
    summary = at_endpoints(load_recognizer(decoder=decoder), files, tracks, minutes)
    utterances = [one for name in SETS for one in draw(corpus, name, count, SEED)]
    summary |= around_speech(files, utterances)
    summary |= between_speech(files, utterances)
    print(f"\n{time.process_time() - began:.0f} s CPU")
    return summary


def track(corpus: Path, name: str, minutes: float) -> Track:
    """So many minutes of a set, in an order drawn by the seed."""
    half, end = round(BETWEEN * RATE / 2), round(minutes * 60 * RATE)
    chosen, places, at = [], [], 0
    for one in shuffled(corpus, name, SEED):
        length = len(one.samples) + 2 * half
        if at + length > end:
            break
        chosen.append(one)
        places.append((at, at + length))
        at += length
    samples = white(at, ROOM_TONE, np.random.default_rng(SEED))
    for one, (start, _) in zip(chosen, places, strict=True):
        samples[start + half : start + half + len(one.samples)] += one.samples
    return Track(samples, tuple(chosen), tuple(places))


def at_endpoints(
    live: Recognizer, files: Recognizer, tracks: Sequence[Track], minutes: float
) -> Summary:
    """The acoustic state kept at endpoints, zeroed there, and each utterance by itself."""
    ways = {"keep": listen(live, tracks, reset=False), "reset": listen(live, tracks, reset=True)}
    errors = {way: [by_place(t, f) for t, f in zip(tracks, found, strict=True)]
              for way, found in ways.items()}  # fmt: skip
    errors["alone"] = [_alone(files, one) for one in tracks]
    words = sum(e.reference for found in errors["keep"] for e in found)
    print(f"one stream of {minutes:g} minutes a set, {BETWEEN} s between utterances, "
          f"{words} words; finals: "
          + ", ".join(f"{way} {sum(map(len, found))}" for way, found in ways.items()))
    spans = [*WINDOWS, (0.0, 1.0)]
    titles = [f"min {minutes * a:g} to {minutes * b:g}" for a, b in spans]
    print(f"\n| acoustic state at an endpoint | {' | '.join(titles)} |\n|---{'|---' * len(spans)}|")
    summary: Summary = {}
    drift = {}
    for way, found in errors.items():
        rates = [_window(tracks, found, a, b).rate or 0.0 for a, b in spans]
        name = "each utterance alone" if way == "alone" else way
        print(f"| {name} | {' | '.join(f'{100 * rate:.1f} %' for rate in rates)} |", flush=True)
        summary |= {
            f"wer, state {way}, {t}": round(r, 4) for t, r in zip(titles, rates, strict=True)
        }
        drift[way] = rates
    later = {
        way: (drift[way][2] - drift["alone"][2]) - (drift[way][0] - drift["alone"][0])
        for way in ways
    }
    print("\nWER beyond that of the same utterances alone, last window less first: "
          + ", ".join(f"{way} {100 * points:+.1f} points" for way, points in later.items()))
    print(recommendation(errors["keep"], errors["reset"]))
    return summary


def recommendation(keep: list[list[ErrorCounts]], reset: list[list[ErrorCounts]]) -> str:
    """Which of the two wins, if the difference over the utterances is not chance."""
    differences = [
        a.errors - b.errors
        for kept, zeroed in zip(keep, reset, strict=True)
        for a, b in zip(kept, zeroed, strict=True)
    ]
    words = max(1, sum(one.reference for kept in keep for one in kept))
    points = 100 * sum(differences) / words
    error = 100 * math.sqrt(len(differences)) * float(np.std(differences)) / words
    told = f"keep less reset: {points:+.2f} points of WER, standard error {error:.2f}"
    if abs(points) <= CERTAIN * error or not points:
        return f"{told}: no difference beyond chance; keep, which needs no rule"
    return f"{told}: {'reset' if points > 0 else 'keep'} wins by measurement"


@dataclass
class _Stream:
    """A track while it is heard."""

    samples: Samples
    transcriber: StreamTranscriber
    at: int = 0
    """The next sample."""
    origin: float = 0.0
    """Seconds at which the session began."""
    finals: list[Final] = field(default_factory=list)


def listen(recognizer: Recognizer, tracks: Sequence[Track], *, reset: bool) -> list[list[Final]]:
    """All tracks at once; with `reset` a fresh session goes on right behind each final."""
    streams = [
        _Stream(one.samples, StreamTranscriber("long", recognizer, RATE, partials=False))
        for one in tracks
    ]
    while left := [s for s in streams if s.at < len(s.samples)]:
        for stream in left:
            stream.transcriber.accept(stream.samples[stream.at : stream.at + BLOCK])
            stream.at += BLOCK
        _drain(recognizer, streams, reset)
    for stream in streams:
        stream.transcriber.finish()
    _drain(recognizer, streams, reset=False)
    for stream in streams:
        stream.finals += _finals(stream.transcriber.last_events())
    return [stream.finals for stream in streams]


def _drain(recognizer: Recognizer, streams: Sequence[_Stream], reset: bool) -> None:
    while ready := [s for s in streams if s.transcriber.session.ready]:
        recognizer.step([s.transcriber.session for s in ready])
        for stream in ready:
            decoded = stream.origin + stream.transcriber.session.frame * recognizer.frame_seconds
            finals = _finals(stream.transcriber.events())
            stream.finals += finals
            if finals and reset:
                stream.transcriber.resume(RATE, decoded)
                # what the old session had taken but not decoded is heard again
                stream.origin, stream.at = decoded, round(decoded * RATE)


def _finals(events: Sequence[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def by_place(one: Track, finals: Sequence[Final]) -> list[ErrorCounts]:
    """Errors of each utterance, to which the words within its place belong."""
    words = [word for final in finals for word in final.words]
    middles = np.array([(word.start + word.end) / 2 * RATE for word in words])
    found = []
    for utterance, (start, end) in zip(one.utterances, one.places, strict=True):
        heard = [words[i].text for i in np.flatnonzero((start <= middles) & (middles < end))]
        found.append(word_errors(utterance.text, " ".join(heard)))
    return found


def _alone(recognizer: Recognizer, one: Track) -> list[ErrorCounts]:
    results = transcribe(recognizer, [one.samples[start:end] for start, end in one.places])
    pairs = zip(one.utterances, results, strict=True)
    return [word_errors(utterance.text, result.text) for utterance, result in pairs]


def _window(
    tracks: Sequence[Track], errors: Sequence[Sequence[ErrorCounts]], a: float, b: float
) -> ErrorCounts:
    """Errors of the utterances that begin within these shares of their stream."""
    total = ErrorCounts()
    for one, found in zip(tracks, errors, strict=True):
        low, high = a * len(one.samples), b * len(one.samples)
        for (start, _), count in zip(one.places, found, strict=True):
            if low <= start < high:
                total += count
    return total


def around_speech(recognizer: Recognizer, utterances: Sequence[Utterance]) -> Summary:
    """Silence before and after: errors, and how often the first word is right."""
    print(f"\n{len(utterances)} recordings\n")
    print("| silence before, after | of | WER | first word right | words before the speech |")
    print("|---|---|---|---|---|")
    summary: Summary = {}
    rng = np.random.default_rng(SEED)
    for kind in ("zeros", "room tone"):
        for before, after in SILENCES:
            if not before and not after and kind != "zeros":
                continue
            clips = [
                np.concatenate((_silence(before, kind, rng), u.samples, _silence(after, kind, rng)))
                for u in utterances
            ]
            total, first, early = ErrorCounts(), 0, 0
            results = transcribe(recognizer, clips)
            for utterance, result in zip(utterances, results, strict=True):
                total += word_errors(utterance.text, result.text)
                first += correct_words(result.text, utterance.text)[0]
                early += sum(w.end < before for final in result.finals for w in final.words)
            title, share = f"{before:g} s, {after:g} s", first / len(utterances)
            wer = total.rate or 0.0
            print(f"| {title} | {kind} | {100 * wer:.1f} % | {share:.0%} | {early} |", flush=True)
            summary[f"wer, {kind}, {title}"] = round(wer, 4)
            summary[f"first word right, {kind}, {title}"] = round(share, 4)
    return summary


def between_speech(recognizer: Recognizer, utterances: Sequence[Utterance]) -> Summary:
    """Two utterances with a gap: errors, and how often no final spans the gap."""
    pairs = list(zip(utterances[::2], utterances[1::2], strict=False))
    kept = [one for pair in pairs for one in pair]
    alone = sum(
        (word_errors(one.text, result.text) for one, result in
         zip(kept, transcribe(recognizer, [one.samples for one in kept]), strict=True)),
        ErrorCounts(),
    )
    print(f"\n{len(pairs)} pairs of utterances\n\n| gap | WER | cut apart |\n|---|---|---|")
    print(f"| each alone | {100 * (alone.rate or 0.0):.1f} % | |")
    summary: Summary = {"wer, pairs, each alone": round(alone.rate or 0.0, 4)}
    rng = np.random.default_rng(SEED)
    for gap in GAPS:
        clips = [
            np.concatenate((a.samples, _silence(gap, "room tone", rng), b.samples))
            for a, b in pairs
        ]
        total, apart = ErrorCounts(), 0
        for (a, b), result in zip(pairs, transcribe(recognizer, clips), strict=True):
            total += word_errors(f"{a.text} {b.text}", result.text)
            middle = len(a.samples) / RATE + gap / 2
            apart += not any(f.words[0].start < middle < f.words[-1].end for f in result.finals)
        wer, share = total.rate or 0.0, apart / len(pairs)
        print(f"| {gap:g} s | {100 * wer:.1f} % | {share:.0%} |", flush=True)
        summary[f"wer, pairs, gap {gap:g} s"] = round(wer, 4)
    return summary


def _silence(seconds: float, kind: str, rng: np.random.Generator) -> Samples:
    count = round(seconds * RATE)
    return np.zeros(count, np.float32) if kind == "zeros" else white(count, ROOM_TONE, rng)
