"""`asrd grammar check`: explain what is wrong with command grammars, show what they allow."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr.decoding.grammar import Grammar
    from asr.vocabulary import Vocabulary

SAMPLES = 10


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("grammar", help="check command grammars")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="explain mistakes, count sentences, show samples",
        description="Read command grammars (Home Assistant's custom sentences) and tell what is "
        "wrong with file and line, how many sentences they hold, and which of their words a word "
        "list lacks. A folder is one grammar merged from its files.",
    )
    add = check.add_argument
    add("files", nargs="+", type=Path, metavar="FILE")
    add("--names", action="append", default=[], type=Path, metavar="FILE",
        help="more lists and rules for each grammar: names, areas (may be repeated)")  # fmt: skip
    add("--context", action="append", default=[], type=_pair, metavar="KEY=VALUE",
        help="what is known without being said, as area=kitchen (may be repeated)")  # fmt: skip
    add("--model", type=Path, metavar="DIR",
        help="model whose letters and words are meant (default: the bundled one)")  # fmt: skip
    add("--lexicon", type=Path, metavar="FILE",
        help="known words, one a line (default: those of the model's language model)")  # fmt: skip
    add("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Check all files together; mistakes are raised as GrammarError, exit status 1."""
    from asr.decoding.grammar import load_grammar

    vocabulary, known = known_to_model(args.model)
    if args.lexicon:
        known = read_words(args.lexicon)
    grammar = load_grammar(args.files, vocabulary, names=args.names, context=dict(args.context))
    result = as_json(grammar, known)
    print(json.dumps(result) if args.json else as_text(result))
    return 0


def known_to_model(path: Path | None) -> tuple[Vocabulary, frozenset[str] | None]:
    """Tokens of a model and the words of its language model; letters where there is no model.

    Raises BundleError for a model that was named and cannot be read.
    """
    from asr.bundle import LANGUAGE_MODEL, load_bundle
    from asr.errors import BundleError
    from asr.locations import default_model_dir
    from asr.vocabulary import Vocabulary

    if path is None:
        try:
            path = default_model_dir()
        except BundleError:
            return Vocabulary.letters(), None
    bundle = load_bundle(path)
    if LANGUAGE_MODEL not in bundle.manifest.sha256:
        return bundle.vocabulary, None
    return bundle.vocabulary, frozenset(bundle.language_model().words)


def read_words(path: Path) -> frozenset[str]:
    """Words of a text file, one a line; what follows the first space of a line is ignored."""
    from asr.errors import GrammarError

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise GrammarError(path, None, "is not UTF-8 text") from error
    return frozenset(line.split(maxsplit=1)[0].lower() for line in lines if line.strip())


def as_json(grammar: Grammar, known: frozenset[str] | None) -> dict[str, Any]:
    """The findings; `unknown_words` is null without a word list, `sentences` if endless."""
    return {
        "grammars": list(grammar.names),
        "sentences": grammar.sentences,
        "words": len(grammar.words),
        "unknown_words": None if known is None else sorted(grammar.words - known),
        "warnings": list(grammar.warnings),
        "samples": grammar.samples(SAMPLES),
    }


def as_text(result: dict[str, Any]) -> str:
    """The same for people."""
    count = result["sentences"]
    sentences = "endless (wildcards)" if count is None else f"{count:,}"
    lines = [f"warning: {warning}" for warning in result["warnings"]]
    lines.append(f"grammars:  {', '.join(result['grammars'])}")
    lines.append(f"sentences: {sentences}")
    lines.append(f"words:     {result['words']:,}")
    unknown = result["unknown_words"]
    if unknown is not None:
        lines.append(f"unknown words: {' '.join(unknown) if unknown else 'none'}")
    lines.append("samples:")
    lines += [f"  {sample}" for sample in result["samples"]]
    return "\n".join(lines)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key, value
