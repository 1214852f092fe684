"""Greedy error rates and losses of whole recordings in batches: quick figures while training.

The figures that are published come from `asrd evaluate`, which streams.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

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
    model: AcousticModel, extractor: FeatureExtractor, dataset: Dataset, vocabulary: Vocabulary
) -> Score:
    """Hear all recordings of a dataset as they are."""
    maker = BatchMaker(dataset, extractor, model.config)
    generator = torch.Generator().manual_seed(0)
    order = sorted(range(len(dataset.tokens)), key=lambda i: int(dataset.store.lengths[i]))
    texts = [""] * len(order)
    loss, tokens = 0.0, 0
    for at in range(0, len(order), BATCH):
        rows = order[at : at + BATCH]
        batch = maker(rows, generator, keep_all=True)
        log_probs = model(batch.features)[0][:, model.config.delay :]
        count = int(batch.targets.lengths.sum())
        loss += count * float(ctc_loss(log_probs, batch.frames, batch.targets))
        tokens += count
        # on the CPU at once: the search goes frame by frame
        for i, scores, frames in zip(rows, log_probs.cpu(), batch.frames.tolist(), strict=True):
            stream = GreedyDecoder().new_stream()
            stream.advance(scores[:frames])
            texts[i] = vocabulary.decode(stream.hypothesis().tokens)
    words, characters = ErrorCounts(), ErrorCounts()
    for text, said in zip(texts, dataset.tokens, strict=True):
        reference = vocabulary.decode(said)
        words += word_errors(reference, text)
        characters += character_errors(reference, text)
    return Score(texts, words.rate or 0.0, characters.rate or 0.0, loss / max(1, tokens))
