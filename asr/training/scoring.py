"""Greedy error rates of whole recordings in batches: quick figures while training.

The figures that are published come from `asrd evaluate`, which streams.
"""

from __future__ import annotations

import torch

from asr.decoding.greedy import GreedyDecoder
from asr.features import FeatureExtractor
from asr.metrics import ErrorCounts, character_errors
from asr.model import AcousticModel
from asr.vocabulary import Vocabulary

from .dataset import BatchMaker, Dataset

BATCH = 32


@torch.inference_mode()
def transcribe(
    model: AcousticModel, extractor: FeatureExtractor, dataset: Dataset, vocabulary: Vocabulary
) -> list[str]:
    """Greedy texts of all recordings of a dataset, in its order."""
    maker = BatchMaker(dataset, extractor, model.config)
    generator = torch.Generator().manual_seed(0)
    order = sorted(range(len(dataset.tokens)), key=lambda i: int(dataset.store.lengths[i]))
    texts = [""] * len(order)
    for at in range(0, len(order), BATCH):
        rows = order[at : at + BATCH]
        batch = maker(rows, generator, keep_all=True)
        log_probs = model(batch.features)[0].cpu()  # at once: the search goes frame by frame
        for i, scores, frames in zip(rows, log_probs, batch.frames.tolist(), strict=True):
            stream = GreedyDecoder().new_stream()
            stream.advance(scores[model.config.delay :][:frames])
            texts[i] = vocabulary.decode(stream.hypothesis().tokens)
    return texts


def character_error_rate(
    model: AcousticModel, extractor: FeatureExtractor, dataset: Dataset, vocabulary: Vocabulary
) -> float:
    """Errors over characters of all recordings."""
    total = ErrorCounts()
    for text, tokens in zip(
        transcribe(model, extractor, dataset, vocabulary), dataset.tokens, strict=True
    ):
        total += character_errors(vocabulary.decode(tokens), text)
    return total.rate or 0.0
