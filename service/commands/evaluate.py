"""`asrd evaluate`: error rates and speed on lists of recordings."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
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
    add("--rejection", action="store_true",
        help="instead: false accepts and false rejects of the --grammar by threshold")  # fmt: skip
    add("--outside", action="append", default=[], type=Path, metavar="MANIFEST",
        help="recordings that are no command, for --rejection; may be repeated")  # fmt: skip
    add("--json", action="store_true", help="one JSON object a manifest")


def run(args: argparse.Namespace) -> int:
    """Evaluate all manifests; 1 if a recording could not be read."""
    from tqdm import tqdm

    from asr.manifest import read_manifest
    from asr.metrics import calibration_error
    from service.evaluation import evaluate

    if args.rejection and not args.grammar:
        raise UsageError("--rejection needs --grammar")
    if args.outside and not args.rejection:
        raise UsageError("--outside goes with --rejection")
    manifests = [(path, read_manifest(path)) for path in args.manifests]
    if args.rejection:
        return show_rejection(args)
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


def show_rejection(args: argparse.Namespace) -> int:
    """Print the errors of rejection at several thresholds, all manifests taken together."""
    import torch

    from asr.decoding.commands import CommandDecoder
    from asr.manifest import read_manifest
    from service import rejection

    torch.set_num_threads(args.threads)
    recognizer = open_recognizer(args)
    verdicts = [
        verdict
        for paths, inside in ((args.manifests, True), (args.outside, False))
        for path in paths
        for verdict in rejection.judge(
            recognizer, read_manifest(path), inside=inside, source=path.stem
        )
    ]
    assert isinstance(recognizer.decoder, CommandDecoder)
    threshold = recognizer.decoder.config.threshold
    if args.json:
        rows = [asdict(row) for row in rejection.table(verdicts, threshold)]
        print(json.dumps({"threshold": threshold, "inside": sum(v.inside for v in verdicts),
                          "right": sum(v.right for v in verdicts),
                          "outside": sum(not v.inside for v in verdicts), "table": rows,
                          "false_accepts": rejection.false_accepts(verdicts, threshold)}))
    else:
        print(", ".join(path.stem for path in (*args.manifests, *args.outside)))
        print(rejection.as_text(verdicts, threshold))
    return 0


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
    """The figures as published: rates are fractions, times seconds, null where nothing was scored.

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
    if (times := result.times.figures()) is not None:
        document["word_times"] = times
    return document


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _bias(seconds: float) -> str:
    return f", {1000 * abs(seconds):.0f} ms too {'late' if seconds > 0 else 'early'} on the median"


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
    if times := document.get("word_times"):
        lines.append(f"  times of {times['words']:.0f} words that were heard right:")
        lines += [
            f"    {name}: median {1000 * times[f'{key}_median']:.0f} ms, "
            f"p95 {1000 * times[f'{key}_p95']:.0f} ms{bias}"
            for name, key, bias in (
                ("error of starts", "start_error", _bias(times["start_bias"])),
                ("error of ends", "end_error", _bias(times["end_bias"])),
                ("first shown behind the end", "first_shown", ""),
            )
        ]
    if result.rtf is not None:
        lines.append(f"  RTF {result.rtf:.4f} CPU seconds a second of audio")
    for scored in result.worst(WORST):
        lines.append(f"  {scored.recording.id}: {scored.words.errors} errors")
        lines.append(f"    text:  {scored.recording.text}")
        lines.append(f"    heard: {scored.text}")
    return "\n".join(lines)
