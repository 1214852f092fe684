"""Recall of hot words among distractors, and what they cost the other words."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import chain
from pathlib import Path

import torch
from rapidfuzz.distance import Levenshtein

from asr.bundle import Bundle, load_bundle
from asr.decoding.hotwords import DEFAULT_BOOST, Hotword
from asr.decoding.lm.language_model import LanguageModel
from asr.errors import BundleError
from asr.locations import default_model_dir
from asr.manifest import read_manifest
from asr.training.hearing import Heard, listen

from .decoders import texts_of
from .measuring import Summary, manifest

SETS = ("librispeech-dev", "commonvoice-dev")
WANTED, DISTRACTORS = 30, 100
SHORTEST = 4
"""Letters of a hot word."""
RARE = -13.0
"""Log-probability below which a word of the language model is rare."""
BOOSTS = (0.5, 1.0, 1.5, 2.0, 3.0)
MIN_GAIN, MAX_HARM = 1.5, 0.005


def run(corpus: Path, count: int) -> Summary:
    """Print the table: `lm` without hot words, then with several boosts."""
    torch.set_num_threads(1)
    bundle = load_bundle(default_model_dir())
    try:
        model = bundle.language_model()
    except BundleError as error:
        print(f"no language model, so nothing is measured: {error}")
        return {"passed": False}
    recordings = [r for name in SETS for r in read_manifest(manifest(corpus, name)) if r.text]
    words = Counter(chain.from_iterable((r.text or "").split() for r in recordings))
    wanted = choose(model, words, WANTED)
    others = choose(model, dict.fromkeys(set(model.words[3:]) - words.keys(), 0), DISTRACTORS)
    chosen = [r for r in recordings if wanted & set((r.text or "").split())][:count]
    heard = list(listen(bundle, chosen))
    print(f"{len(wanted)} words among {len(others)} distractors, {len(heard)} recordings; "
          f"{sum(word not in model.word_ids for word in wanted)} of them unknown to the model")
    print(f"{'boost':<10}{'recall':>9}{'other words WER':>18}")
    found = {}
    for boost in sorted({0.0, DEFAULT_BOOST, *BOOSTS}):
        phrases = [Hotword(word, boost) for word in sorted(wanted | others)] if boost else []
        found[boost] = measure(bundle, heard, phrases, wanted)
        recall, wer = found[boost]
        print(f"{boost or 'without':<10}{recall:>9.1%}{wer:>18.2%}", flush=True)
    (before, plain), (recall, wer) = found[0.0], found[DEFAULT_BOOST]
    passed = recall > 0 and recall >= MIN_GAIN * before and wer <= plain + MAX_HARM
    print(f"at the default boost {DEFAULT_BOOST}: recall at least {MIN_GAIN} times, other words' "
          f"WER at most {100 * MAX_HARM} points up: {'passed' if passed else 'missed'}")
    return {"hotword_recall": round(recall, 4), "hotword_recall_without": round(before, 4),
            "hotword_other_wer_up": round(wer - plain, 4), "passed": passed}


def choose(model: LanguageModel, words: dict[str, int], count: int) -> set[str]:
    """Long words that the model does not know or finds rare; frequent ones of `words` first."""
    rare = [
        word for word in words
        if len(word) >= SHORTEST
        and (word not in model.word_ids or model.unigram_log_probs[model.id_of(word)] < RARE)
    ]
    return set(sorted(rare, key=lambda word: (-words[word], zlib.crc32(word.encode())))[:count])


def measure(
    bundle: Bundle, heard: Sequence[Heard], phrases: Sequence[Hotword], wanted: Collection[str]
) -> tuple[float, float]:
    """The share of the wanted words that is found, and the error rate of all others."""
    texts = texts_of(bundle.decoder("lm", phrases), bundle.text_vocabulary, heard)
    said = missed = others = errors = 0
    for one, text in zip(heard, texts, strict=True):
        spoken, written = one.text.split(), text.split()
        hot = [word in wanted for word in spoken]
        said += sum(hot)
        others += len(hot) - sum(hot)
        for edit in Levenshtein.editops(spoken, written):
            if edit.tag != "insert" and hot[edit.src_pos]:
                missed += 1
            else:
                errors += 1
    return 1 - missed / max(1, said), errors / max(1, others)
