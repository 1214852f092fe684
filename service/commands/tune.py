"""`asrd tune`: fit a model's search settings to development sets."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from service.arguments import positive_int
from service.errors import UsageError

if TYPE_CHECKING:
    from asr.bundle import Bundle
    from asr.decoding.decoders import SearchConfig
    from asr.decoding.grammar import Grammar


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "tune",
        help="fit a model's search settings to development sets",
        description="Find the weight of a model's language model by word error rate, fit the "
        "confidences of its words and, where a manifest tells `words` with times, correct their "
        "times. With --grammar: find what each letter of a command earns, and the threshold that "
        "tells commands from other speech, on one half of the recordings, and show its errors on "
        "the other. All is written into the model's manifest; weights are not touched. Report "
        "figures on other recordings than these.",
    )
    add = parser.add_argument
    add("model", type=Path, metavar="DIR", help="model folder with a language model")
    add("manifests", nargs="*", type=Path, metavar="MANIFEST")
    add("--limit", type=positive_int, default=150, metavar="N",
        help="recordings of each manifest, spread over it (150)")  # fmt: skip
    add("--keep-words", action="store_true", help="fit the confidences and times alone")
    add("--grammar", nargs="+", action="append", default=[], type=Path, metavar="FILE",
        help="a grammar and manifests of its commands (GRAMMAR MANIFEST...); lines with "
        "'in_grammar': false are none; may be repeated")  # fmt: skip
    add("--outside", nargs="+", action="extend", default=[], type=Path, metavar="MANIFEST",
        help="recordings that are no command of any --grammar")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Tune and write."""
    import torch

    from asr.bundle import load_bundle, write_search

    if not args.manifests and not args.grammar:
        raise UsageError("nothing to tune on: name manifests, or --grammar with some")
    if any(len(group) < 2 for group in args.grammar):
        raise UsageError("--grammar needs a grammar and at least one manifest behind it")
    if args.outside and not args.grammar:
        raise UsageError("--outside goes with --grammar")
    torch.set_num_threads(1)
    bundle = load_bundle(args.model)
    config = bundle.manifest.search
    if args.manifests:
        config = tune_words(args, bundle)
        write_search(args.model, config)
        print(f"written: {config.words} {config.confidence} {config.timing}")
    if args.grammar:
        from asr.decoding.grammar import load_grammar

        grammars = [load_grammar([path], bundle.vocabulary) for path, *_ in args.grammar]
        config = tune_bonus(args, bundle, config, grammars)
        config = tune_rejection(args, bundle, config, grammars)
        write_search(args.model, config)
        commands = config.commands
        print(f"written: bonus {commands.bonus}, threshold {commands.threshold}")
    return 0


def tune_words(args: argparse.Namespace, bundle: Bundle) -> SearchConfig:
    """Weights, confidences and times by free speech."""
    from asr.manifest import evenly, read_manifest
    from asr.training import tuning
    from asr.training.hearing import listen

    bundle.language_model()  # before the long work: there must be one
    groups = []
    for manifest in args.manifests:
        groups.append(list(listen(bundle, evenly(read_manifest(manifest), args.limit))))
        if not groups[-1]:
            raise UsageError(f"{manifest}: no recording has a text to tune on")
        print(f"{manifest}: {len(groups[-1])} recordings", flush=True)

    def show(config: SearchConfig, rate: float) -> None:
        w = config.words
        print(f"WER {rate:.2%} lm_weight {w.lm_weight} word_bonus {w.word_bonus} "
              f"unknown_penalty {w.unknown_penalty} spelling_penalty {w.spelling_penalty}",
              flush=True)  # fmt: skip

    config = bundle.manifest.search
    if not args.keep_words:
        config = tuning.tune_words(bundle, groups, show)
    confidence = tuning.fit_confidence(bundle, config, groups) or config.confidence
    timing = tuning.fit_timing(bundle, config, groups)
    return replace(config, confidence=confidence, timing=timing)


def tune_bonus(
    args: argparse.Namespace, bundle: Bundle, config: SearchConfig, grammars: Sequence[Grammar]
) -> SearchConfig:
    """What a letter of a command earns, by the half of the recordings that takes part."""
    from asr.manifest import read_manifest
    from asr.training import tuning
    from asr.training.hearing import hear
    from service import evaluation, rejection

    groups = []
    for grammar, (_, *manifests) in zip(grammars, args.grammar, strict=True):
        chosen = [
            recording
            for manifest in manifests
            for recording in read_manifest(manifest)
            if rejection.is_inside(recording) and rejection.takes_part(recording.id)
        ]
        heard = [hear(bundle, recording) for recording in chosen]
        asked = [partial(evaluation.asks, grammar, recording) for recording in chosen]
        groups.append(tuning.Commands(grammar, heard, asked))

    def show(bonus: float, share: float) -> None:
        print(f"bonus {bonus}: {share:.1%} found", flush=True)

    commands = tuning.tune_bonus(bundle.vocabulary, config.commands, groups, show)
    return replace(config, commands=commands)


def tune_rejection(
    args: argparse.Namespace, bundle: Bundle, config: SearchConfig, grammars: Sequence[Grammar]
) -> SearchConfig:
    """The threshold of commands by recordings inside and outside of grammars."""
    from asr.decoding.commands import CommandDecoder
    from asr.decoding.greedy import GreedyDecoder
    from asr.manifest import read_manifest
    from asr.streaming import Recognizer
    from service import rejection

    groups = []
    for grammar, (_, *manifests) in zip(grammars, args.grammar, strict=True):
        decoder = CommandDecoder(grammar, bundle.vocabulary, GreedyDecoder(), config.commands)
        recognizer = Recognizer(bundle.extractor, bundle.model, bundle.vocabulary, decoder)
        groups.append(rejection.halves(
            verdict
            for paths, inside in ((manifests, True), (args.outside, False))
            for path in paths
            for verdict in rejection.judge(
                recognizer, read_manifest(path), inside=inside, source=path.stem
            )
        ))
    threshold = rejection.calibrate([half for half, _ in groups])
    if threshold is None:
        raise UsageError(
            "each grammar needs recordings of commands that are heard right, and others outside"
        )
    for (grammar, *_), (_, rest) in zip(args.grammar, groups, strict=True):
        print(f"{grammar}, the half that took no part:")
        print(rejection.as_text(rest, threshold), flush=True)
    return replace(config, commands=replace(config.commands, threshold=threshold))
