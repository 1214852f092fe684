"""`asrd tune`: fit a model's search settings to development sets."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from service.arguments import positive_int


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "tune",
        help="fit a model's search settings to development sets",
        description="Find the weight of a model's language model by word error rate, fit the "
        "confidences of its words, and write both into its manifest. Weights are not touched. "
        "Report figures on other recordings than these.",
    )
    add = parser.add_argument
    add("model", type=Path, metavar="DIR", help="model folder with a language model")
    add("manifests", nargs="+", type=Path, metavar="MANIFEST")
    add("--limit", type=positive_int, default=150, metavar="N",
        help="recordings of each manifest, spread over it (150)")  # fmt: skip
    add("--keep-words", action="store_true", help="fit the confidences alone")


def run(args: argparse.Namespace) -> int:
    """Tune and write."""
    import torch

    from asr.bundle import load_bundle, write_search
    from asr.decoding.decoders import SearchConfig
    from asr.manifest import read_manifest
    from asr.training import tuning

    torch.set_num_threads(1)
    bundle = load_bundle(args.model)
    bundle.language_model()  # before the long work: there must be one
    groups = []
    for manifest in args.manifests:
        recordings = read_manifest(manifest)
        chosen = recordings[:: max(1, len(recordings) // args.limit)][: args.limit]
        groups.append(list(tuning.listen(bundle, chosen)))
        print(f"{manifest}: {len(groups[-1])} recordings", flush=True)

    def show(config: SearchConfig, rate: float) -> None:
        w = config.words
        print(f"WER {rate:.2%} lm_weight {w.lm_weight} word_bonus {w.word_bonus} "
              f"spelling_penalty {w.spelling_penalty}", flush=True)  # fmt: skip

    config = bundle.manifest.search
    if not args.keep_words:
        config = tuning.tune_words(bundle, groups, show)
    confidence = tuning.fit_confidence(bundle, config, groups)
    write_search(args.model, replace(config, confidence=confidence))
    print(f"written: {config.words} {confidence}")
    return 0
