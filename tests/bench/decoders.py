"""Word errors and speed of the searches alone, and of flashlight-text's over the same input."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from asr.bundle import LANGUAGE_MODEL, load_bundle
from asr.decoding.base import Decoder
from asr.decoding.beam import BeamDecoder
from asr.decoding.lexicon import WordScorer
from asr.decoding.lm.language_model import LanguageModel
from asr.errors import BundleError
from asr.locations import default_model_dir
from asr.metrics import ErrorCounts, word_errors
from asr.training.hearing import Heard
from asr.vocabulary import BLANK_ID, Vocabulary

from . import flashlight
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

BEAMS = (8, 32, 100)
MAX_RTF = 0.02


def run(corpus: Path, count: int) -> Summary:
    """Print the table."""
    torch.set_num_threads(1)
    bundle = load_bundle(default_model_dir())
    heard = hear(bundle, manifest(corpus, "librispeech-dev"), count)
    seconds = seconds_of(heard, frame_seconds_of(bundle))
    vocabulary, pieces = bundle.text_vocabulary, bundle.pieces is not None
    frames = torch.cat([one.letters if one.pieces is None else one.pieces for one in heard])
    config = bundle.manifest.search
    skipped = (frames[:, BLANK_ID] >= math.log(config.beam.blank_skip)).float().mean().item()
    print(f"{len(heard)} utterances of librispeech-dev, {seconds / 60:.1f} min, "
          f"{skipped:.0%} of the frames skipped; one thread")
    print(f"{'search':<24}{'WER':>9}{'RTF':>9}")

    def row(name: str, search: Callable[[], list[str]]) -> tuple[float, float]:
        texts: list[list[str]] = []
        rtf = cpu_seconds(lambda: texts.append(search())) / seconds
        pairs = zip(heard, texts[0], strict=True)
        errors = sum((word_errors(one.text, text) for one, text in pairs), ErrorCounts())
        wer = errors.rate or 0.0
        print(f"{name:<24}{wer:>9.2%}{rtf:>9.4f}", flush=True)
        return wer, rtf

    row("greedy", partial(texts_of, bundle.decoder("greedy"), vocabulary, heard))
    try:
        model = bundle.language_model()
    except BundleError as error:
        print(f"no language model, so no more: {error}")
        return {"passed": False}
    scorer = WordScorer(model, vocabulary, config.words)
    ours = {}
    for name, scorers in (("beam", ()), ("lm", (scorer,))):
        for beam in dict.fromkeys((*BEAMS, config.beam.beam)):
            wide = replace(config.beam, beam=beam)
            decoder = BeamDecoder(wide, scorers, pieces=pieces)
            ours[name, beam] = row(
                f"{name}, beam {beam}", partial(texts_of, decoder, vocabulary, heard)
            )
    if flashlight.is_installed():
        peer = flashlight.Peer(model, bundle.vocabulary)
        matrices = [peer.with_boundary(one.letters.numpy()) for one in heard]
        spelt = WordScorer(model, bundle.vocabulary, config.words)
        for beam in BEAMS:  # over the same input, which for that library is letters
            settings = replace(config, beam=replace(config.beam, beam=beam))
            same = BeamDecoder(settings.beam, [spelt])
            mine = row(
                f"lm on letters, beam {beam}", partial(texts_of, same, bundle.vocabulary, heard)
            )
            theirs = row(f"flashlight, beam {beam}", partial(peer.decode, matrices, settings))
            print(f"  {versus(mine, theirs)}")
        print(flashlight.CANNOT)
    else:
        print("flashlight-text is not installed (pip install .[bench]): no peer measured")
    load_seconds, load_mb = in_fresh_process(_load_cost, bundle.path)
    print(f"language model and lexicon: {load_seconds:.2f} s CPU to load, {load_mb:.0f} MB at peak")
    wer, rtf = ours["lm", config.beam.beam]
    print(f"search with language model at the default beam: RTF {rtf:.4f} (at most {MAX_RTF}): "
          f"{'passed' if rtf <= MAX_RTF else 'missed'}")
    return {"wer_lm": round(wer, 4), "search_rtf": round(rtf, 4), "passed": rtf <= MAX_RTF}


def texts_of(decoder: Decoder, vocabulary: Vocabulary, heard: Sequence[Heard]) -> list[str]:
    """What a decoder makes of the recordings."""
    return [vocabulary.decode(one.tokens) for one in decode(decoder, heard)]


def versus(ours: tuple[float, float], theirs: tuple[float, float]) -> str:
    """Who wins in what."""
    more_errors, more_time = ours[0] - theirs[0], ours[1] / theirs[1]
    return (
        f"asrd's lm takes {more_time:.2f} of its time: "
        f"{'asrd' if more_time < 1 else 'flashlight'} wins in speed; "
        f"WER {100 * more_errors:+.2f} points: "
        f"{'asrd' if more_errors < 0 else 'flashlight' if more_errors > 0 else 'neither'} wins"
    )


def in_fresh_process(
    work: Callable[..., tuple[float, float]], *args: object
) -> tuple[float, float]:
    """Figures of a process in which nothing else has left memory behind."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, args)


def _load_cost(path: Path) -> tuple[float, float]:
    bundle = load_bundle(path)
    memory, began = MemoryGrowth(), time.process_time()
    WordScorer(LanguageModel.load(path / LANGUAGE_MODEL), bundle.text_vocabulary)
    return time.process_time() - began, memory.megabytes()
