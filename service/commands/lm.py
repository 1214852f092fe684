"""`asrd lm`: build, convert and judge language models."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from service.arguments import positive_int
from service.errors import UsageError

if TYPE_CHECKING:
    from asr.decoding.lm.build import Part
    from asr.decoding.lm.language_model import LanguageModel

DEFAULT_MAX_MB = 9.5
TEXTS = (
    "A TEXT is plain or gzip with one sentence a line, or a manifest (.jsonl). It is written "
    "in lower case without punctuation first; spell numbers out."
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("lm", help="build, convert and judge language models")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_build(actions)
    _add_convert(actions)
    _add_perplexity(actions)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    status: int = args.action(args)
    return status


def _add_build(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "build",
        help="estimate a language model from texts",
        description="Interpolated modified Kneser-Ney, pruned by relative entropy to the wanted "
        "size. " + TEXTS + " With --part the texts are estimated apart and mixed.",
    )
    parser.set_defaults(action=_build)
    add = parser.add_argument
    add("texts", nargs="*", type=Path, metavar="TEXT")
    add("--output", type=Path, required=True, metavar="FILE")
    add(
        "--part", nargs="+", action="append", default=[], metavar=("WEIGHT", "TEXT"),
        help="texts with their share of the mixture; may be repeated. The texts without --part "
        "have the rest",
    )
    add("--order", type=_order, default=3, metavar="N", help="words in an n-gram (3)")
    add("--max-words", type=positive_int, metavar="N", help="size of the vocabulary")
    add(
        "--min-count", type=_counts, default=(1,), metavar="N[,N...]",
        help="drop rarer words, 2-grams, ...; the last stands for the higher orders (1)",
    )
    add("--prune", type=_above_0, metavar="X", help="drop n-grams worth less than X nats a word")
    add(
        "--max-mb", type=_above_0, metavar="MB",
        help=f"size of the file ({DEFAULT_MAX_MB} unless --prune is given)",
    )


def _add_convert(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "convert",
        help="read an ARPA file",
        description="Make a language model of an ARPA file, plain or gzip, of any order.",
    )
    parser.set_defaults(action=_convert)
    add = parser.add_argument
    add("arpa", type=Path, metavar="ARPA")
    add("--output", type=Path, required=True, metavar="FILE")
    add("--prune", type=_above_0, metavar="X", help="drop n-grams worth less than X nats a word")
    add("--max-mb", type=_above_0, metavar="MB", help="prune to this size of the file")


def _add_perplexity(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "perplexity",
        help="judge a language model by texts",
        description="Words, share of unknown words (OOV) and perplexity a text. " + TEXTS,
    )
    parser.set_defaults(action=_perplexity)
    add = parser.add_argument
    add("model", type=Path, metavar="FILE")
    add("texts", nargs="+", type=Path, metavar="TEXT")
    add("--json", action="store_true", help="one JSON object a text")


def _build(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from asr.decoding.lm.build import BuildConfig, build, steps

    parts = _parts(args)
    max_mb: float | None = args.max_mb or (None if args.prune else DEFAULT_MAX_MB)
    config = BuildConfig(
        order=args.order,
        max_words=args.max_words,
        min_counts=args.min_count,
        prune=args.prune,
        max_bytes=None if max_mb is None else int(max_mb * 1e6),
    )
    with tqdm(total=steps(parts), desc="lm", unit="step", disable=None, leave=False) as bar:

        def on_step(done: str) -> None:
            bar.set_postfix_str(done)
            bar.update()

        model = build(parts, config, on_step)
    return _save(model, args.output)


def _convert(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from asr.decoding.lm.arpa import read_arpa
    from asr.decoding.lm.build import BuildConfig, shrink

    with tqdm(desc=args.arpa.name, unit="n-gram", disable=None, leave=False) as bar:
        ngrams = read_arpa(args.arpa, bar.update)
    config = BuildConfig(prune=args.prune, max_bytes=args.max_mb and int(args.max_mb * 1e6))
    return _save(shrink(ngrams, config), args.output)


def _perplexity(args: argparse.Namespace) -> int:
    from asr.decoding.lm.corpus import read_corpora
    from asr.decoding.lm.language_model import LanguageModel
    from asr.decoding.lm.perplexity import perplexity

    model = LanguageModel.load(args.model)
    for path in args.texts:
        result = perplexity(model, read_corpora([[path]])[0])
        figures = {
            "text": str(path),
            "sentences": result.sentences,
            "words": result.words,
            "oov": result.oov_rate,
            "perplexity": result.with_unknown,
            "perplexity_without_oov": result.without_unknown,
        }
        if args.json:
            print(json.dumps(figures), flush=True)
        else:
            print(
                f"{path}: {result.words} words in {result.sentences} sentences, "
                f"OOV {result.oov_rate:.2%}, perplexity {result.with_unknown:.1f}, "
                f"without OOV {result.without_unknown:.1f}",
                flush=True,
            )
    return 0


def _parts(args: argparse.Namespace) -> list[Part]:
    """The texts as parts whose weights sum to 1. UsageError otherwise."""
    from asr.decoding.lm.build import Part

    parts = []
    for weight, *texts in args.part:
        try:
            share = _above_0(weight)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"--part {error}") from error
        if not texts:
            raise UsageError(f"--part {weight} has no TEXT")
        parts.append(Part(share, tuple(map(Path, texts))))
    rest = 1 - sum(part.weight for part in parts)
    if args.texts:
        if rest < 1e-6:
            raise UsageError("the weights of --part leave nothing to the other texts")
        parts.insert(0, Part(rest, tuple(args.texts)))
    elif not parts:
        raise UsageError("no TEXT to build from")
    elif abs(rest) > 1e-6:
        raise UsageError(f"the weights of --part sum to {1 - rest:g}, not to 1")
    return parts


def _save(model: LanguageModel, output: Path) -> int:
    model.save(output)
    counts = ", ".join(f"{n} {k}-grams" for k, n in enumerate(model.counts, 1))
    print(f"{output}: {counts}, {model.nbytes / 1e6:.2f} MB")
    return 0


def _order(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 10")
    return int(text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(map(positive_int, text.split(",")))


def _above_0(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value
