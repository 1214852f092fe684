"""`asrd evaluate`: error rates and speed on lists of recordings."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.arguments import positive_int
from service.errors import UsageError
from service.recognition import add_arguments, open_recognizer

if TYPE_CHECKING:
    from service.evaluation import Evaluation

WORST = 5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure word errors and speed on manifests",
        description="Stream each recording of a manifest like live audio and compare with its "
        "text. A manifest holds one JSON object a line: audio, text, speaker, seconds; audio is "
        "looked up beside the manifest, then one folder above.",
    )
    add = parser.add_argument
    add("manifests", nargs="+", type=Path, metavar="MANIFEST")
    add_arguments(parser)
    add("--streams", type=positive_int, default=1, metavar="N", help="recordings at once (1)")
    add("--threads", type=positive_int, default=1, metavar="N", help="CPU threads (1)")
    add("--reliability", type=Path, metavar="PNG",
        help="draw how confidences relate to right words; needs matplotlib")  # fmt: skip
    add("--json", action="store_true", help="one JSON object a manifest")


def run(args: argparse.Namespace) -> int:
    """Evaluate all manifests; 1 if a recording could not be read."""
    from tqdm import tqdm

    from asr.manifest import read_manifest
    from asr.metrics import calibration_error
    from service.evaluation import evaluate

    manifests = [(path, read_manifest(path)) for path in args.manifests]
    recognizer = open_recognizer(args)
    failed = False
    judged: dict[str, tuple[list[float], list[bool]]] = {}
    for path, recordings in manifests:
        with tqdm(
            total=len(recordings), desc=path.stem, unit="file", disable=None, leave=False
        ) as bar:
            result = evaluate(
                recognizer, recordings, streams=args.streams, on_result=lambda _: bar.update()
            )
        for failure in result.failures:
            sys.stderr.write(f"asrd: {failure.name}: {failure.reason}\n")
            failed = True
        document = as_json(path, result, commands=bool(args.grammar))
        if args.reliability:
            judged[path.stem] = result.judged_words()
            document["calibration_error"] = calibration_error(*judged[path.stem])
        print(json.dumps(document) if args.json else as_text(document, result), flush=True)
    if args.reliability:
        draw_reliability(judged, args.reliability)
    return 1 if failed else 0


def draw_reliability(judged: dict[str, tuple[list[float], list[bool]]], picture: Path) -> None:
    """A line a manifest: the share of right words over their confidence."""
    from asr.metrics import reliability

    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise UsageError("--reliability needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], ":", color="gray", label="perfectly calibrated")
    for name, (confidences, right) in judged.items():
        cells = reliability(confidences, right)
        axes.plot([c.confidence for c in cells], [c.accuracy for c in cells], "o-", label=name)
    axes.set_xlabel("confidence of a word")
    axes.set_ylabel("share of words that are right")
    axes.legend()
    figure.savefig(picture, dpi=100)


def as_json(path: Path, result: Evaluation, *, commands: bool) -> dict[str, Any]:
    """The figures as published: rates are fractions, null where nothing was scored.

    With `commands`, those of a grammar too: whole sentences right, all slots right, and
    recordings without a command that was understood.
    """
    document: dict[str, Any] = {
        "manifest": str(path),
        "utterances": result.utterances,
        "words": result.words.reference,
        "wer": result.words.rate,
        "cer": result.characters.rate,
        "rtf": result.rtf,
    }
    if commands:
        scores = result.commands
        document |= {
            "sentence_accuracy": _share(scores.sentences_right, scores.sentences),
            "slot_accuracy": _share(scores.slots_right, scores.labelled),
            "rejected": _share(scores.rejected, result.utterances),
        }
    return document


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def as_text(document: dict[str, Any], result: Evaluation) -> str:
    """The same for people, with the worst utterances."""
    w, c = result.words, result.characters
    lines = [
        f"{document['manifest']}: {result.utterances} utterances, "
        f"{result.seconds / 60:.1f} min of audio"
    ]
    if w.rate is None or c.rate is None:
        lines.append("  no texts to compare with")
    else:
        lines.append(
            f"  WER {w.rate:.2%} of {w.reference} words: {w.substitutions} substituted, "
            f"{w.deletions} deleted, {w.insertions} inserted"
        )
        lines.append(f"  CER {c.rate:.2%} of {c.reference} characters")
    for key in ("sentence_accuracy", "slot_accuracy", "rejected", "calibration_error"):
        if document.get(key) is not None:
            lines.append(f"  {key.replace('_', ' ')} {document[key]:.2%}")
    if result.rtf is not None:
        lines.append(f"  RTF {result.rtf:.4f} CPU seconds a second of audio")
    for scored in result.worst(WORST):
        lines.append(f"  {scored.recording.id}: {scored.words.errors} errors")
        lines.append(f"    text:  {scored.recording.text}")
        lines.append(f"    heard: {scored.text}")
    return "\n".join(lines)
