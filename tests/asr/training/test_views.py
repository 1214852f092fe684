"""Two views of each recording, and what is lost where they are heard differently."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from asr.model import AcousticModel
from asr.training.config import LossConfig, TrainConfig
from asr.training.objective import Objective, Targets, disagreement
from asr.training.trainer import Trainer

from .conftest import NO_AUGMENT

Make = Callable[..., TrainConfig]

VARIED = replace(NO_AUGMENT, equalizer=6.0, time_masks=2, frequency_masks=1)


def scores(*probabilities: list[float]) -> torch.Tensor:
    """Log-probs of one row: a list of two symbols' probabilities for each frame."""
    return torch.tensor([probabilities]).log()


def test_views_heard_alike_lose_nothing() -> None:
    view = torch.randn(3, 7, 5).log_softmax(-1)
    targets = Targets(torch.ones(12, dtype=torch.long), torch.full((6,), 2))
    both = disagreement(torch.cat((view, view)), torch.full((6,), 7), targets)
    assert float(both) == pytest.approx(0.0, abs=1e-6)


def test_the_loss_is_the_divergence_both_ways_over_the_letters_of_both() -> None:
    first = scores([0.5, 0.5], [0.9, 0.1], [0.2, 0.8])
    second = scores([0.25, 0.75], [0.9, 0.1], [0.7, 0.3])
    targets = Targets(torch.ones(4, dtype=torch.long), torch.tensor([2, 2]))
    found = disagreement(torch.cat((first, second)), torch.tensor([2, 2]), targets)
    # the third frame is padding, the second is heard alike
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    wanted = (p * (p / q).log()).sum() + (q * (q / p).log()).sum()
    assert float(found) == pytest.approx(float(wanted) / 4)


def test_each_view_is_drawn_to_the_other() -> None:
    logits = torch.randn(2, 4, 3, requires_grad=True)
    targets = Targets(torch.ones(2, dtype=torch.long), torch.tensor([1, 1]))
    before = disagreement(logits.log_softmax(-1), torch.tensor([4, 4]), targets)
    before.backward()
    assert logits.grad is not None
    assert bool((logits.grad.abs().sum(dim=(1, 2)) > 0).all())
    closer = (logits - 0.1 * logits.grad).detach().log_softmax(-1)
    assert float(disagreement(closer, torch.tensor([4, 4]), targets)) < float(before.detach())


def test_a_batch_holds_each_recording_twice_augmented_otherwise(make_config: Make) -> None:
    config = make_config(
        augment=replace(VARIED, lead=0.3, trail=0.2), loss=LossConfig(consistency_weight=0.2)
    )
    batch = Trainer(config).maker([0, 1, 2], torch.Generator().manual_seed(1))
    first, second = batch.features.chunk(2)
    assert len(first) == len(second) == 3
    assert not torch.allclose(first, second)
    assert batch.frames[:3].tolist() == batch.frames[3:].tolist()
    tokens = batch.targets.tokens.chunk(2)
    assert torch.equal(*tokens)
    plain = Trainer(replace(config, augment=replace(NO_AUGMENT, lead=0.3, trail=0.2)))
    alike = plain.maker([0, 1, 2], torch.Generator().manual_seed(1))
    assert torch.equal(*alike.features.chunk(2))


def test_noise_alone_stands_in_both_views(make_config: Make) -> None:
    config = make_config(loss=LossConfig(consistency_weight=0.2))
    maker = Trainer(config).maker
    assert maker.augmenter is not None
    maker.augmenter.silence = lambda audio, generator: [1]  # type: ignore[method-assign]
    batch = maker([0, 1, 2], torch.Generator().manual_seed(1))
    assert [n == 0 for n in batch.targets.lengths.tolist()] == [False, True, False] * 2


def test_a_batch_is_no_larger_for_its_views(make_config: Make) -> None:
    config = make_config()
    config = replace(config, data=replace(config.data, batch_rows=2))
    alone = Trainer(config)
    paired = Trainer(replace(config, loss=replace(config.loss, consistency_weight=0.2)))
    rows = [len(t.maker(t._batches[0], torch.Generator()).frames) for t in (alone, paired)]
    assert rows == [2, 2]


def test_a_model_learns_to_hear_its_views_alike(make_config: Make) -> None:
    apart = []
    for weight in (1e-9, 1.0):
        loss = LossConfig(auxiliary_weight=0.0, consistency_weight=weight)
        trainer = Trainer(make_config(augment=VARIED, loss=loss, run={"steps": 40}))
        for _ in range(40):
            trainer.train_step()
        batch = trainer.maker([0, 1, 2, 3], torch.Generator().manual_seed(9))
        model = trainer.objective.model.eval()
        with torch.inference_mode():
            log_probs, _ = model(batch.features)
        apart.append(float(disagreement(log_probs, batch.frames, batch.targets)))
    assert apart[1] < 0.7 * apart[0]


def test_what_the_pieces_hear_differently_counts_too(make_config: Make) -> None:
    """With the weight of the pieces; two equal views cost nothing."""
    model = replace(make_config().model, pieces=5)
    losses = []
    for weight in (0.0, 0.5):
        torch.manual_seed(1)
        loss = LossConfig(auxiliary_weight=0.0, consistency_weight=weight, piece_weight=2.0)
        objective = Objective(AcousticModel(model), loss).eval()
        features = torch.randn(2, 32, 80)
        frames, lengths = torch.tensor([8, 8]), torch.tensor([2, 2])
        letters, pieces = (Targets(torch.tensor([1, 2, 1, 2]), lengths) for _ in range(2))
        losses.append(float(objective(features, frames, letters, pieces=pieces)[0].detach()))
        hidden = objective.model.encode(features)[0][-1].detach()
        written = (objective.model.classify(hidden), objective.model.classify_pieces(hidden))
        apart = [float(disagreement(scores, frames, letters).detach()) for scores in written]
    assert losses[1] - losses[0] == pytest.approx(0.5 * apart[0] + 0.5 * 2.0 * apart[1], rel=1e-4)
