"""The arguments that choose model, search, grammar and hot words, for every command."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UsageError

if TYPE_CHECKING:
    from asr.bundle import Bundle
    from asr.decoding.base import Decoder
    from asr.streaming import Recognizer

    from .config import RecognitionConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `open_recognizer` reads."""
    add = parser.add_argument
    add("--model", type=Path, metavar="DIR", help="model folder (default: the bundled one)")
    add("--decoder", metavar="NAME", help="greedy, beam or lm (default: the model's best)")
    add("--hotwords", type=Path, metavar="FILE",
        help="phrases to prefer, one a line: PHRASE or PHRASE: BOOST (needs a search)")  # fmt: skip
    add("--grammar", action="append", default=[], type=Path, metavar="FILE",
        help="commands to understand (Home Assistant's sentences); may be repeated")  # fmt: skip
    add("--names", action="append", default=[], type=Path, metavar="FILE",
        help="more lists and rules for the grammars: names, areas; may be repeated")  # fmt: skip
    add("--threshold", type=float, metavar="DISTANCE",
        help="how unlike a command speech may be and still count as it; 0 rejects all but the "
        "likeliest text (default: the model's)",
    )  # fmt: skip


FILE_CHUNK_SECONDS = 0.64
"""For recordings nobody waits for: fewer and larger steps cost half, the text is the same."""


def open_recognizer(
    args: argparse.Namespace, *, chunk_seconds: float | None = None
) -> Recognizer:
    """The recogniser that the arguments ask for, in chunks for live audio by default.

    Raises UsageError, BundleError, HotwordError, GrammarError or ConfigError.
    """
    from asr.bundle import load_bundle
    from asr.locations import default_model_dir
    from asr.streaming import DEFAULT_CHUNK_SECONDS

    if not args.grammar and (args.names or args.threshold is not None):
        raise UsageError("--names and --threshold go with --grammar")
    bundle = load_bundle(args.model if args.model is not None else default_model_dir())
    decoder = load_decoder(
        bundle, args.decoder, args.hotwords, args.grammar, args.names, args.threshold
    )
    return bundle.recognizer(decoder, chunk_seconds=chunk_seconds or DEFAULT_CHUNK_SECONDS)


def load_decoder(
    bundle: Bundle, name: str | None = None, hotwords: Path | None = None,
    grammar: Sequence[Path] = (), names: Sequence[Path] = (), threshold: float | None = None,
) -> Decoder:
    """The search of a bundle by its name, with the hot words and commands of these files.

    Raises HotwordError, GrammarError or ConfigError.
    """
    from asr.decoding.commands import CommandDecoder
    from asr.decoding.grammar import load_grammar
    from asr.decoding.hotwords import read_hotwords

    phrases = read_hotwords(hotwords, bundle.text_vocabulary) if hotwords is not None else ()
    decoder = bundle.decoder(name, phrases)
    if grammar:
        automaton = load_grammar(grammar, bundle.vocabulary, names)
        # the model's thread searches for one stream while events of another are made
        automaton.growing = threading.Lock()
        config = bundle.manifest.search.commands
        if threshold is not None:
            config = replace(config, threshold=threshold)
        decoder = CommandDecoder(automaton, bundle.vocabulary, decoder, config)
    return decoder


def configured_decoder(bundle: Bundle, config: RecognitionConfig) -> Decoder:
    """The same, as the daemon's configuration wants it."""
    return load_decoder(
        bundle, config.decoder or None, Path(config.hotwords) if config.hotwords else None,
        [Path(path) for path in config.grammar], [Path(path) for path in config.names],
        config.threshold,
    )  # fmt: skip
