"""A training batch and a stream hear the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from asr.training.config import TrainConfig
from asr.training.dataset import BatchMaker
from asr.training.trainer import Trainer
from tests.equivalence import VARIANTS, Heard, assert_same, babbler, forward, streamed


@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_of_a_padded_training_batch_equal_streams(
    make_config: Callable[..., TrainConfig], variant: str
) -> None:
    recognizer = babbler("lstm", variant)
    model = recognizer.model
    dataset = Trainer(make_config()).train_set
    maker = BatchMaker(dataset, recognizer.extractor, model.config)
    batch = maker([0, 1, 2, 3], torch.Generator().manual_seed(0), keep_all=True)
    log_probs = forward(recognizer, batch.features)[:, model.config.delay :]
    for row, frames in enumerate(batch.frames.tolist()):
        samples = (dataset.store[row].float() / 32768).numpy()
        found = streamed(recognizer, samples, (777,))
        assert_same(found, Heard(log_probs[row, :frames], found.tokens))
        assert len(found.tokens) > 4
