"""False accepts against false rejects of a grammar's recordings, and the threshold between."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from asr.decoding.commands import CommandDecoder
from asr.decoding.greedy import GreedyDecoder
from asr.manifest import Recording
from asr.streaming import Recognizer

from .endpointing import EndpointConfig
from .errors import UsageError
from .evaluation import asks
from .offline import DEFAULT_STREAMS, FileSource, transcribe_sources
from .recognition import FILE_CHUNK_SECONDS

MAX_FALSE_ACCEPTS, MAX_FALSE_REJECTS = 0.05, 0.03
"""What a calibrated threshold aims at: the two errors count relative to these."""
ROWS = 12


@dataclass(frozen=True)
class Verdict:
    """What a recording would do at any threshold."""

    id: str
    inside: bool
    """Whether it holds a sentence of the grammar."""
    right: bool
    """Whether the sentence that was found is what was said; never so outside."""
    distance: float
    """Of the nearest sentence; infinite if there is none: then no threshold accepts it."""
    source: str = ""
    """The list that it stands in: each kind of other speech counts by itself."""


@dataclass(frozen=True)
class Rates:
    """The errors at one threshold; None where there is nothing to count."""

    threshold: float
    false_accepts: float | None
    """Share of the recordings outside the grammar that are taken for a command."""
    false_rejects: float | None
    """Share of the recordings inside, with the right sentence found, that are rejected."""


def judge(
    recognizer: Recognizer, recordings: Sequence[Recording], *, inside: bool = True,
    source: str = "",
) -> Iterator[Verdict]:
    """Search each recording for a command, with nothing rejected.

    `recognizer` decodes by a grammar. `in_grammar` in a manifest's line goes before `inside`.
    Raises the error of a recording that cannot be read, UsageError for one that holds a
    sentence but tells neither `text` nor `slots`.
    """
    decoder = recognizer.decoder
    if not isinstance(decoder, CommandDecoder):
        raise TypeError("no grammar in force")
    everything = Recognizer(
        recognizer.extractor, recognizer.model, recognizer.vocabulary,
        CommandDecoder(decoder.grammar, decoder.vocabulary, GreedyDecoder(),
                       replace(decoder.config, threshold=math.inf)),
        chunk_seconds=FILE_CHUNK_SECONDS, timing=recognizer.timing,
    )  # fmt: skip
    sources = [FileSource(recording.audio) for recording in recordings]
    # the nearest command is shown all the time, however far it is: no reason to end sooner
    usual = EndpointConfig()
    endpoint = replace(usual, silence_after_command=usual.silence_after_speech)
    results = transcribe_sources(
        everything, sources, streams=DEFAULT_STREAMS, endpoint=endpoint
    )
    for recording, result in zip(recordings, results, strict=True):
        if result.error is not None:
            raise result.error
        told = is_inside(recording, inside)
        if told and recording.text is None and "slots" not in recording.extra:
            raise UsageError(f"{recording.id}: neither 'text' nor 'slots' tells what was said")
        found = [final for final in result.finals if final.understood]
        nearest = min(found, key=lambda final: final.distance or 0.0, default=None)
        if nearest is None:
            yield Verdict(recording.id, told, False, math.inf, source)
            continue
        right = told and asks(decoder.grammar, recording, nearest.text)
        yield Verdict(recording.id, told, right, nearest.distance or 0.0, source)


def is_inside(recording: Recording, inside: bool = True) -> bool:
    """Whether a recording holds a sentence of the grammar: its own line goes before its list."""
    return bool(recording.extra.get("in_grammar", inside))


def takes_part(name: str) -> bool:
    """Whether a recording is of the half to calibrate on; by checksum, so always the same."""
    return zlib.crc32(name.encode()) & 1 == 0


def halves(verdicts: Iterable[Verdict]) -> tuple[list[Verdict], list[Verdict]]:
    """One half to calibrate on and one to report on."""
    parts: tuple[list[Verdict], list[Verdict]] = [], []
    for verdict in verdicts:
        parts[not takes_part(verdict.id)].append(verdict)
    return parts


def rates(verdicts: Sequence[Verdict], threshold: float) -> Rates:
    """The errors at a threshold."""
    outside = [v.distance <= threshold for v in verdicts if not v.inside]
    right = [v.distance > threshold for v in verdicts if v.right]
    return Rates(
        threshold,
        sum(outside) / len(outside) if outside else None,
        sum(right) / len(right) if right else None,
    )


def by_source(verdicts: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    """Each list's other speech, with all the commands beside it: a long list hides no short one."""
    verdicts = list(verdicts)
    inside = [v for v in verdicts if v.inside]
    others: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if not verdict.inside:
            others.setdefault(verdict.source, list(inside)).append(verdict)
    return others


def calibrate(grammars: Sequence[Sequence[Verdict]]) -> float | None:
    """The threshold whose worst error is least against what is aimed at.

    The worst among grammars and, within each, among lists of other speech. Where nothing changes
    over an interval, its middle. None where a grammar lacks recordings outside or right ones
    inside.
    """
    groups = [group for verdicts in grammars for group in by_source(verdicts).values() or [[]]]
    if not groups or any(None in (rates(g, 0.0).false_accepts, rates(g, 0.0).false_rejects)
                         for g in groups):  # fmt: skip
        return None
    edges = sorted({v.distance for group in groups for v in group
                    if math.isfinite(v.distance) and (v.right or not v.inside)})  # fmt: skip
    if not edges:
        return None
    edges = [0.0, *edges, edges[-1] * 1.1]
    costs = [max(_cost(rates(group, edge)) for group in groups) for edge in edges[:-1]]
    first = last = costs.index(min(costs))
    while last + 1 < len(costs) and costs[last + 1] == costs[first]:
        last += 1
    return round((edges[first] + edges[last + 1]) / 2, 3)


def _cost(found: Rates) -> float:
    accepts, rejects = found.false_accepts or 0.0, found.false_rejects or 0.0
    # the sum breaks ties where the smaller error can still fall
    worse = max(accepts / MAX_FALSE_ACCEPTS, rejects / MAX_FALSE_REJECTS)
    return worse + 1e-3 * (accepts + rejects)


def false_accepts(verdicts: Iterable[Verdict], threshold: float) -> dict[str, float]:
    """The share of each list of other speech that is taken for a command."""
    return {
        source: rates(group, threshold).false_accepts or 0.0
        for source, group in by_source(verdicts).items()
    }


def table(verdicts: Sequence[Verdict], threshold: float) -> list[Rates]:
    """Errors at steps of a threshold around the given one."""
    middle = ROWS // 2
    return [rates(verdicts, round(threshold * step / middle, 3)) for step in range(1, ROWS + 1)]


def as_text(verdicts: Sequence[Verdict], threshold: float) -> str:
    """The table for people; the row of the given threshold is marked."""
    inside = sum(v.inside for v in verdicts)
    right = sum(v.right for v in verdicts)
    lines = [
        f"  {inside} recordings in the grammar, {right} of them heard right; "
        f"{len(verdicts) - inside} outside",
        "  threshold  false accepts  false rejects",
    ]
    for row in table(verdicts, threshold):
        mark = " *" if row.threshold == round(threshold, 3) else ""
        lines.append(
            f"  {row.threshold:9.3f}  {_percent(row.false_accepts)}  "
            f"{_percent(row.false_rejects)}{mark}"
        )
    shares = false_accepts(verdicts, threshold)
    if len(shares) > 1:
        told = ", ".join(f"{source} {share:.1%}" for source, share in shares.items())
        lines.append(f"  false accepts at {threshold:.3f}: {told}")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return f"{'-' if share is None else f'{share:.1%}':>13}"
