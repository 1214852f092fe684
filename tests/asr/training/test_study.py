"""Promises of the study of cells."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from asr.model import AcousticModel, Cell, ModelConfig
from asr.training.config import TrainConfig
from asr.training.gradient_flow import decay, loss_gradient, weight_gradient
from asr.training.study import flow_batch, main, sized
from asr.training.trainer import Trainer
from asr.vocabulary import BLANK, WORD_START

SMALL = ModelConfig(hidden_size=16, n_layers=2, conv_channels=4)


@pytest.mark.parametrize("cell", get_args(Cell))
def test_every_cell_gets_about_as_many_parameters(cell: Cell) -> None:
    found = AcousticModel(sized(ModelConfig(cell=cell, n_layers=2), 500_000))
    assert sum(p.numel() for p in found.parameters()) == pytest.approx(500_000, rel=0.05)


@pytest.mark.parametrize("cell", get_args(Cell))
def test_a_truncated_gradient_ends_at_the_cut(
    make_config: Callable[..., TrainConfig], cell: Cell
) -> None:
    trainer = Trainer(make_config(model=replace(SMALL, cell=cell)))
    batch, model = flow_batch(trainer), trainer.objective.model
    entering = loss_gradient(model, batch)
    whole = decay(model, batch, entering, 6, 0)
    cut = decay(model, batch, entering, 6, 3)
    assert whole[0] == cut[0] == pytest.approx(1.0)
    assert all(whole)
    assert not any(cut[3:])


def test_look_ahead_does_not_hide_the_gradient(make_config: Callable[..., TrainConfig]) -> None:
    trainer = Trainer(make_config(model=replace(SMALL, lookahead=2)))
    batch, model = flow_batch(trainer), trainer.objective.model
    assert decay(model, batch, loss_gradient(model, batch), 6, 0)[0] == pytest.approx(1.0)


def test_cuts_beyond_the_end_change_no_gradient(make_config: Callable[..., TrainConfig]) -> None:
    trainer = Trainer(make_config(model=SMALL))
    batch, model = flow_batch(trainer), trainer.objective.model
    whole, uncut = weight_gradient(model, batch, 0), weight_gradient(model, batch, 10_000)
    torch.testing.assert_close(whole, uncut)
    assert not torch.allclose(whole, weight_gradient(model, batch, 2))


def test_a_study_leaves_figures_and_pictures_and_is_not_repeated(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, pieces = tmp_path / "study.toml", tmp_path / "pieces.txt"
    pieces.write_text("\n".join([BLANK, WORD_START, *"abcdefghijklmnopqrstuvwxyz'"]) + "\n")
    config.write_text(
        f'[data]\ntrain = ["{manifest}"]\ndev = ["{manifest}"]\npieces = "{pieces}"\n'
        "[augment]\nrooms = 0.0\n[model]\nn_layers = 1\nconv_channels = 4\n"
        '[run]\ndevice = "cpu"\nprecision = "fp32"\n'
    )
    folder = tmp_path / "study"
    monkeypatch.setattr("sys.argv", [
        "study", str(config), str(folder), "--minutes", "0.002", "--parameters", "40000",
        "--cells", "gru", "--variants", "whole", "truncated",
    ])  # fmt: skip
    assert main() == 0
    found = json.loads((folder / "study.json").read_text())["runs"]
    assert [f"{r['cell']} {r['variant']}" for r in found] == ["gru whole", "gru truncated"]
    for run in found:
        assert len(run["norms"]) == run["steps"] >= 1
        assert [run["flows"][0]["step"], run["flows"][-1]["step"]] == [0, run["steps"]]
        assert run["scores"][-1]["step"] == run["steps"]
    assert (folder / "learning.png").stat().st_size > 0
    assert (folder / "gradients.png").stat().st_size > 0
    first = capsys.readouterr().out
    assert main() == 0
    assert capsys.readouterr().out == first
