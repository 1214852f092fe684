"""The optimiser Muon: what its updates are, and that training with it goes on and resumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from asr.model import ModelConfig
from asr.training.config import OptimizerConfig, TrainConfig
from asr.training.muon import ROOT_MEAN_SQUARE, Muon, flattener
from asr.training.trainer import LAST, Trainer

MakeConfig = Callable[..., TrainConfig]
MUON = OptimizerConfig(name="muon", learning_rate=4e-3, warmup_steps=5, ema=0.99)


@pytest.mark.parametrize("shape", [(24, 96), (32, 32)])
def test_singular_values_become_one_and_directions_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(3)
    left = torch.linalg.qr(torch.randn(shape[0], shape[0])).Q
    right = torch.linalg.qr(torch.randn(shape[1], shape[0])).Q
    matrix = 1e-3 * left @ torch.diag(torch.logspace(0, -0.7, shape[0])) @ right.mT
    result = flattener(matrix) @ matrix
    values = torch.linalg.svdvals(result)
    assert float(values.min()) > 0.4
    assert float(values.max()) < 1.6
    nearest = left @ right.mT
    assert float((result * nearest).sum() / result.norm() / nearest.norm()) > 0.93


@pytest.mark.parametrize("shape", [(96, 24), (24, 96)])
def test_all_directions_of_a_gradient_count_alike(shape: tuple[int, int]) -> None:
    torch.manual_seed(4)
    weight = nn.Parameter(torch.zeros(*shape))
    optimizer = Muon([weight], lr=1.0, weight_decay=0.0, row_decay=0.0)
    left, _, right = torch.linalg.svd(torch.randn(*shape), full_matrices=False)
    weight.grad = left @ torch.diag(torch.logspace(0, -1, min(shape))) @ right
    optimizer.step()
    after = torch.linalg.svdvals(weight.detach())
    assert float(after[0] / after[-1]) < 5  # of 10


def test_an_update_has_the_size_of_the_rate_whatever_the_gradients() -> None:
    torch.manual_seed(5)
    for scale in (1e-6, 1e3):
        weight = nn.Parameter(torch.zeros(64, 16))
        optimizer = Muon([weight], lr=0.01, weight_decay=0.0)
        weight.grad = scale * torch.randn(64, 16)
        optimizer.step()
        size = float(weight.detach().square().mean().sqrt())
        assert size == pytest.approx(0.01 * ROOT_MEAN_SQUARE, rel=1e-3)


def test_a_gradient_of_zeros_changes_nothing() -> None:
    weight = nn.Parameter(torch.ones(8, 4))
    optimizer = Muon([weight], lr=0.01, weight_decay=0.0)
    weight.grad = torch.zeros(8, 4)
    optimizer.step()
    assert torch.equal(weight.detach(), torch.ones(8, 4))


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="matrices"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.01, weight_decay=0.0)


def test_training_learns_and_a_resume_goes_on_alike(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    model = ModelConfig(hidden_size=32, n_layers=2, conv_channels=4, dropout=0.1)
    whole = Trainer(make_config(model=model, optimizer=MUON, run={"output": str(tmp_path / "a")}))
    expected = [whole.train_step()[0] for _ in range(12)]
    assert sum(expected[-3:]) < sum(expected[:3])
    config = make_config(model=model, optimizer=MUON, run={"output": str(tmp_path / "b")})
    first = Trainer(config)
    begun = [first.train_step()[0] for _ in range(5)]
    first.save(LAST)
    second = Trainer(config)
    assert begun + [second.train_step()[0] for _ in range(7)] == expected


def test_another_optimiser_goes_on_from_the_weights(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    first = Trainer(make_config())
    first.train_step()
    first.save(LAST)
    second = Trainer(make_config(optimizer=MUON))
    assert "the optimiser begins afresh" in caplog.text
    assert second.step == 1
    for old, new in zip(
        first.objective.parameters(), second.objective.parameters(), strict=True
    ):
        assert torch.equal(old, new)
    second.train_step()
