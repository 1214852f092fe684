"""Greedy error rates and losses of whole recordings in batches: quick figures while training.

The figures that are published come from `asrd evaluate`, which streams.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.decoding.greedy import GreedyDecoder
from asr.features import FeatureExtractor
from asr.metrics import ErrorCounts, character_errors, word_errors
from asr.model import AcousticModel
from asr.vocabulary import Vocabulary

from .dataset import BatchMaker, Dataset
from .objective import ctc_loss

BATCH = 32


@dataclass(frozen=True)
class Score:
    """How well a model hears a dataset."""

    texts: list[str]
    """Greedy, in the dataset's order."""
    wer: float
    cer: float
    loss: float
    """CTC's, a token: tells a difference sooner than errors do."""


@torch.inference_mode()
def score(
    model: AcousticModel, extractor: FeatureExtractor, dataset: Dataset, vocabulary: Vocabulary,
    pieces: Vocabulary | None = None,
) -> Score:
    """Hear all recordings of a dataset as they are; texts and WER are those of `pieces`, if any."""
    maker = BatchMaker(dataset, extractor, model.config)
    generator = torch.Generator().manual_seed(0)
    order = sorted(range(len(dataset.tokens)), key=lambda i: int(dataset.store.lengths[i]))
    spelt, written = [""] * len(order), [""] * len(order)
    loss, tokens = 0.0, 0
    for at in range(0, len(order), BATCH):
        rows = order[at : at + BATCH]
        batch = maker(rows, generator, keep_all=True)
        hidden = model.encode(batch.features)[0][-1]
        delay = model.config.delay
        log_probs = model.classify(hidden)[:, delay:]
        count = int(batch.targets.lengths.sum())
        loss += count * float(ctc_loss(log_probs, batch.frames, batch.targets))
        tokens += count
        frames = batch.frames.tolist()
        for i, text in zip(rows, _best_paths(log_probs, frames, vocabulary), strict=True):
            spelt[i] = text
        if pieces is not None:
            log_probs = model.classify_pieces(hidden)[:, delay:]
            for i, text in zip(rows, _best_paths(log_probs, frames, pieces), strict=True):
                written[i] = text
    texts = spelt if pieces is None else written
    words, characters = ErrorCounts(), ErrorCounts()
    for text, letters, said in zip(texts, spelt, dataset.tokens, strict=True):
        reference = vocabulary.decode(said)
        words += word_errors(reference, text)
        characters += character_errors(reference, letters)
    return Score(texts, words.rate or 0.0, characters.rate or 0.0, loss / max(1, tokens))


def _best_paths(log_probs: Tensor, frames: list[int], vocabulary: Vocabulary) -> Iterator[str]:
    # on the CPU at once: the search goes frame by frame
    for scores, count in zip(log_probs.cpu(), frames, strict=True):
        stream = GreedyDecoder().new_stream()
        stream.advance(scores[:count])
        yield vocabulary.decode(stream.hypothesis().tokens)
