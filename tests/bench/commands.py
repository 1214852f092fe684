"""Compile time, memory and search speed of a command grammar."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from asr.bundle import load_bundle
from asr.decoding.commands import CommandDecoder
from asr.decoding.grammar import load_grammar
from asr.decoding.greedy import GreedyDecoder
from asr.locations import default_model_dir
from asr.training.hearing import Heard
from asr.vocabulary import Vocabulary

from .decoders import in_fresh_process
from .measuring import (
    MemoryGrowth,
    Summary,
    cpu_seconds,
    decode,
    frame_seconds_of,
    hear,
    manifest,
    seconds_of,
)

MAX_COMPILE_SECONDS, MAX_MB, MAX_RTF = 1.0, 100, 0.03


def run(corpus: Path, count: int) -> Summary:
    """Print the figures of home.yaml on home-dev."""
    torch.set_num_threads(1)
    bundle = load_bundle(default_model_dir())
    grammar_file = corpus / "commands" / "home.yaml"
    heard = hear(bundle, manifest(corpus, "home-dev"), count)
    seconds = seconds_of(heard, frame_seconds_of(bundle))
    # a fresh process for the memory: states are made when a search first meets them
    rows = [one.letters.numpy() for one in heard]
    compile_seconds, mb = in_fresh_process(_cost, grammar_file, bundle.vocabulary.tokens, rows)
    config = bundle.manifest.search.commands

    def decoder() -> CommandDecoder:
        grammar = load_grammar(grammar_file, bundle.vocabulary)
        return CommandDecoder(grammar, bundle.vocabulary, GreedyDecoder(), config)

    fresh = decoder()
    first = cpu_seconds(lambda: decode(fresh, heard), repeats=1) / seconds
    rtf = cpu_seconds(lambda: decode(fresh, heard)) / seconds
    print(f"{len(heard)} recordings of home-dev, {seconds / 60:.1f} min, commands/home.yaml")
    print(f"search beside a greedy free path, interpretation included: RTF {first:.4f} at first, "
          f"then {rtf:.4f}; {fresh.grammar.states_known} states met")
    passed = True
    for name, found, bound in (
        ("compile seconds", compile_seconds, MAX_COMPILE_SECONDS), ("memory MB", mb, MAX_MB),
        ("RTF, the first search included", first, MAX_RTF),
    ):
        passed &= found <= bound
        print(f"{name}: {found:.3f} (at most {bound}): {'passed' if found <= bound else 'missed'}")
    return {
        "grammar_compile_s": round(compile_seconds, 2), "grammar_mb": round(mb, 1),
        "grammar_rtf": round(first, 4), "passed": passed,
    }


def _cost(
    grammar_file: Path, tokens: tuple[str, ...], rows: list[object]
) -> tuple[float, float]:
    """Seconds to compile; memory of that and of the searches."""
    vocabulary = Vocabulary(tokens)
    heard = [Heard("", torch.as_tensor(letters)) for letters in rows]
    memory, began = MemoryGrowth(), time.perf_counter()
    grammar = load_grammar(grammar_file, vocabulary)
    seconds = time.perf_counter() - began
    decode(CommandDecoder(grammar, vocabulary, GreedyDecoder()), heard)
    return seconds, memory.megabytes()
