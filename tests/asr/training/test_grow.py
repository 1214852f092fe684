"""A deeper network begins as the shallower one it was made of, and trains on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from asr import schema
from asr.errors import ConfigError
from asr.model import AcousticModel, ModelConfig
from asr.training import checkpoint, grow
from asr.training.config import LossConfig, OptimizerConfig, TrainConfig
from asr.training.trainer import BEST, LAST, Trainer

Make = Callable[..., TrainConfig]

SHAPE = ModelConfig(hidden_size=48, n_layers=3, conv_channels=8)


def trained(make_config: Make, **settings: object) -> TrainConfig:
    loss = LossConfig(auxiliary_weight=0.3)
    optimizer = OptimizerConfig(name="muon", learning_rate=4e-3, warmup_steps=5, ema=0.9)
    return make_config(model=SHAPE, loss=loss, optimizer=optimizer, **settings)


def averaged(path: Path) -> AcousticModel:
    content = checkpoint.load(path)
    model = AcousticModel(schema.build(ModelConfig, content["config"]["model"]))
    values = content["average"].items()
    model.load_state_dict(
        {k.removeprefix("model."): v for k, v in values if k.startswith("model.")}
    )
    return model.eval()


@pytest.mark.parametrize(
    ("before", "after", "places"), [(4, 7, [0, 1, 3, 5]), (4, 5, [0, 1, 2, 3]), (3, 5, [0, 1, 3])]
)
def test_new_layers_stand_behind_the_last_of_the_old(
    before: int, after: int, places: list[int]
) -> None:
    assert grow.old_layers(before, after) == places


def test_a_grown_network_says_nearly_the_same_and_learns_on(
    make_config: Make, tmp_path: Path
) -> None:
    config = trained(make_config, run={"steps": 30})
    Trainer(config).run()
    small = tmp_path / "run" / LAST
    checkpoint.save(tmp_path / "grown" / LAST, grow.grow(checkpoint.load(small), 5))
    features = torch.randn(2, 96, 80)
    with torch.inference_mode():
        before, _ = averaged(small)(features)
        after, _ = averaged(tmp_path / "grown" / LAST)(features)
    assert (after.exp() - before.exp()).abs().max() < 0.05
    assert not torch.equal(after, before)

    run = replace(config.run, output=str(tmp_path / "grown"), steps=30)
    larger = Trainer(replace(config, model=replace(SHAPE, n_layers=5), run=run))
    assert (larger.step, larger.hours) == (0, checkpoint.load(small)["hours"])
    begun = {k: v.clone() for k, v in larger.objective.state_dict().items()}
    first = larger.train_step()[0]
    for _ in range(20):
        last = larger.train_step()[0]
    assert last < first
    for name, values in larger.objective.state_dict().items():
        assert not torch.equal(values, begun[name]), name


def test_the_command_writes_a_checkpoint_or_says_why_not(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Trainer(trained(make_config, run={"steps": 1})).run()
    source = str(tmp_path / "run" / BEST)
    target = tmp_path / "deep.pt"
    for layers, code in (("4", 0), ("6", 1), ("3", 1)):
        monkeypatch.setattr("sys.argv", ["grow", source, layers, str(target)])
        assert grow.main() == code
    assert checkpoint.load(target)["config"]["model"]["n_layers"] == 4
    assert "grow to 4 at least and 5 at most" in capsys.readouterr().err


def test_only_an_lstm_grows(make_config: Make, tmp_path: Path) -> None:
    config = make_config(model=replace(SHAPE, cell="gru"), run={"steps": 1})
    Trainer(config).run()
    with pytest.raises(ConfigError, match="gru"):
        grow.grow(checkpoint.load(tmp_path / "run" / LAST), 4)
