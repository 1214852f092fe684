"""Promises of the training loop."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from asr.bundle import load_bundle, load_recognizer
from asr.errors import BundleError, ConfigError, ManifestError
from asr.model import Cell, ModelConfig
from asr.training import checkpoint
from asr.training.config import AugmentConfig, DataConfig, LossConfig, OptimizerConfig, TrainConfig
from asr.training.export import export
from asr.training.optimizer import learning_rate
from asr.training.progress import CURVE_FILE, LOG_FILE
from asr.training.scoring import score
from asr.training.trainer import BEST, LAST, Trainer

from .conftest import TEXTS, spell

MakeConfig = Callable[..., TrainConfig]


def losses(trainer: Trainer, steps: int) -> list[float]:
    return [trainer.train_step()[0] for _ in range(steps)]


@pytest.mark.parametrize("cell", get_args(Cell))
def test_every_cell_learns_four_utterances_by_heart(make_config: MakeConfig, cell: Cell) -> None:
    model = ModelConfig(cell=cell, hidden_size=64, n_layers=2, conv_channels=8)
    trainer = Trainer(make_config(model=model, run={"steps": 400}))
    for _ in range(16):
        losses(trainer, 25)
        found = score(
            trainer.averaged_model(), trainer.extractor, trainer.train_set, trainer.vocabulary
        )
        if found.texts == list(TEXTS):
            assert (found.wer, found.cer) == (0.0, 0.0)
            assert 0 < found.loss < 0.5
            return
    pytest.fail(f"after 400 steps: {found.texts}")


def test_resume_equals_never_having_stopped(make_config: MakeConfig, tmp_path: Path) -> None:
    sections = {
        "augment": AugmentConfig(noise=0.0, room_count=2, rooms=0.5),
        "loss": LossConfig(auxiliary_weight=0.3),
        "optimizer": OptimizerConfig(ema=0.99, warmup_steps=3),
        "data": DataConfig(train=(str(tmp_path / "train.jsonl"),), batch_rows=2),
        "model": ModelConfig(hidden_size=32, n_layers=2, conv_channels=4, dropout=0.2),
    }
    whole = Trainer(make_config(run={"output": str(tmp_path / "a")}, **sections))
    expected = losses(whole, 7)
    config = make_config(run={"output": str(tmp_path / "b")}, **sections)
    first = Trainer(config)
    start = losses(first, 3)
    first.save(LAST)
    second = Trainer(config)
    assert second.step == 3
    assert start + losses(second, 4) == expected
    for name, value in whole.average.values.items():
        torch.testing.assert_close(second.average.values[name], value, rtol=0, atol=0)


def test_carried_state_survives_a_resume(make_config: MakeConfig, tmp_path: Path) -> None:
    sections = {
        "loss": LossConfig(auxiliary_weight=0.0, carry_state=True, truncate_steps=5),
        "data": DataConfig(train=(str(tmp_path / "train.jsonl"),), batch_rows=1),
    }
    expected = losses(Trainer(make_config(run={"output": str(tmp_path / "a")}, **sections)), 6)
    config = make_config(run={"output": str(tmp_path / "b")}, **sections)
    first = Trainer(config)
    start = losses(first, 2)
    assert first.state is not None
    first.save(LAST)
    assert start + losses(Trainer(config), 4) == expected


def test_truncation_changes_gradients_but_not_the_loss(make_config: MakeConfig) -> None:
    results = []
    for steps in (0, 3):
        config = make_config(loss=LossConfig(auxiliary_weight=0.0, truncate_steps=steps))
        trainer = Trainer(config)
        loss, _ = trainer.train_step()
        weights = trainer.objective.model.layers[0].cell.weight_hh_l0
        results.append((loss, weights.grad.clone()))
    (whole, whole_gradient), (cut, cut_gradient) = results
    assert cut == pytest.approx(whole, abs=1e-5)
    assert not torch.allclose(whole_gradient, cut_gradient, rtol=1e-2)


def test_a_run_leaves_checkpoints_log_and_curve(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(run={"steps": 60, "evaluate_steps": 30})
    Trainer(config).run()
    output = tmp_path / "run"
    assert {LAST, BEST, LOG_FILE, CURVE_FILE} <= {path.name for path in output.iterdir()}
    rows = [json.loads(line) for line in (output / LOG_FILE).read_text().splitlines()]
    assert [row["step"] for row in rows if "dev_cer" in row] == [30, 60]
    assert (output / CURVE_FILE).read_bytes().startswith(b"\x89PNG")
    assert not list(output.glob("*.part*"))


def test_an_exported_run_recognises_what_it_learnt(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    trainer = Trainer(make_config(run={"steps": 200}))
    losses(trainer, 200)
    trainer.save(LAST)
    export(tmp_path / "run" / LAST, tmp_path / "bundle", "tones")
    assert load_bundle(tmp_path / "bundle").manifest.training["steps"] == 200
    recognizer = load_recognizer(tmp_path / "bundle")
    session = recognizer.new_session(16_000)
    session.accept(spell(TEXTS[0]))
    session.finish()
    while session.ready:
        recognizer.step([session])
    whole = score(
        trainer.averaged_model(), trainer.extractor, trainer.train_set, trainer.vocabulary
    )
    assert session.transcript().text == whole.texts[0] == TEXTS[0]


def test_bf16_and_sgd_train(make_config: MakeConfig) -> None:
    config = make_config(
        run={"precision": "bf16"},
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.05, warmup_steps=1, ema=0.0),
    )
    values = losses(Trainer(config), 20)
    assert values[-1] < values[0]


def test_a_warm_start_begins_with_the_weights_of_the_bundle(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    first = Trainer(make_config())
    first.save(LAST)
    export(tmp_path / "run" / LAST, tmp_path / "bundle", "first")
    run = {"output": str(tmp_path / "second"), "start_from": str(tmp_path / "bundle"), "seed": 9}
    second = Trainer(make_config(run=run))
    for old, new in zip(
        first.objective.model.parameters(), second.objective.model.parameters(), strict=True
    ):
        torch.testing.assert_close(new, old, rtol=1e-2, atol=1e-3)  # through fp16
    with pytest.raises(BundleError, match="n_layers"):
        Trainer(make_config(
            run=run | {"output": str(tmp_path / "third")},
            model=ModelConfig(hidden_size=64, n_layers=3, conv_channels=8),
        ))


def test_utterances_with_more_letters_than_frames_are_dropped_and_counted(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    import soundfile

    soundfile.write(tmp_path / "short.wav", np.zeros(4000, np.float32), 16_000)
    rows = [
        json.dumps({"audio": "short.wav", "text": "far too many letters for this"}),
        json.dumps({"audio": "0.wav", "text": TEXTS[0]}),
    ]
    path = tmp_path / "mixed.jsonl"
    path.write_text("\n".join(rows))
    trainer = Trainer(make_config(data=DataConfig(train=(str(path),), sorted_passes=0)))
    loss, _ = trainer.train_step()
    assert trainer.dropped == 1
    assert np.isfinite(loss)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_two_processes_train_one_model(
    make_config: MakeConfig, tmp_path: Path, optimizer: str
) -> None:
    """Two gloo processes under torchrun end with the same weights, and see half each."""
    a, b = in_two_processes(
        tmp_path,
        "losses = [t.train_step()[0] for _ in range(3)]\n"
        "w = torch.cat([p.detach().flatten() for p in t.objective.parameters()])\n"
        "out = {'rank': t.place.rank, 'world': t.place.world_size, 'losses': losses,\n"
        "       'sum': float(w.double().sum()), 'batches': t._batches}\n",
        optimizer=optimizer,
    )
    assert a["world"] == b["world"] == 2
    assert a["losses"] != b["losses"]
    assert a["sum"] == pytest.approx(b["sum"], abs=1e-9)
    seen = [row for part in (a, b) for batch in part["batches"] for row in batch]
    assert sorted(seen) == [0, 1, 2, 3]


def test_two_processes_stop_after_the_same_step(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """Though the time of one is up before that of the other: neither waits for the other."""
    a, b = in_two_processes(
        tmp_path,
        "time.sleep(0.5 * t.place.rank)\nt.run()\nout = {'step': t.step}\n",
        run="minutes = 0.02",
    )
    assert a["step"] == b["step"] > 0


def in_two_processes(
    tmp_path: Path, body: str, *, optimizer: str = "adamw", run: str = "steps = 3"
) -> list[dict[str, Any]]:
    """What `body`, which has a Trainer `t`, leaves in `out` in each of two processes."""
    script = tmp_path / "two.py"
    script.write_text(
        "import sys, json, pathlib, time, torch\n"
        "from asr.training.config import read_config\n"
        "from asr.training.trainer import Trainer\n"
        "t = Trainer(read_config(pathlib.Path(sys.argv[1])))\n"
        f"{body}"
        "(pathlib.Path(sys.argv[2]) / f'{t.place.rank}.json').write_text(json.dumps(out))\n"
        "torch.distributed.destroy_process_group()\n"
    )
    config = tmp_path / "two.toml"
    config.write_text(
        f'[data]\ntrain = ["{tmp_path / "train.jsonl"}"]\nbatch_rows = 1\n'
        "[augment]\nrooms = 0.0\nnoise = 0.0\n"
        "[model]\nhidden_size = 16\nn_layers = 2\nconv_channels = 4\n"
        f'[optimizer]\nname = "{optimizer}"\n'
        f'[run]\noutput = "{tmp_path / "two"}"\n{run}\ndevice = "cpu"\n'
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--master-addr=127.0.0.1", "--master-port=0", "--rdzv-backend=c10d"]
    command += ["--rdzv-endpoint=127.0.0.1:0"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with subprocess.Popen(
        [*command, str(script), str(config), str(tmp_path)], env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0,
    ) as process:
        try:
            _, errors = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the workers too
            raise
    assert process.returncode == 0, errors[-2000:]
    return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_errors_may_be_measured_at_the_end_alone(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    Trainer(make_config(run={"steps": 3, "evaluate_steps": 0})).run()
    rows = (tmp_path / "run" / LOG_FILE).read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows if "dev_cer" in row] == [3]


def test_a_damaged_checkpoint_is_named(make_config: MakeConfig, tmp_path: Path) -> None:
    Trainer(make_config()).save(LAST)
    path = tmp_path / "run" / LAST
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BundleError, match=LAST):
        checkpoint.load(path)


def test_unlabelled_recordings_are_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "no-text.jsonl"
    path.write_text(json.dumps({"audio": "0.wav"}))
    with pytest.raises(ManifestError, match="no text"):
        Trainer(make_config(data=DataConfig(train=(str(path),))))


def test_features_and_model_must_agree(make_config: MakeConfig) -> None:
    config = make_config()
    with pytest.raises(ConfigError, match="n_mels"):
        dataclasses.replace(config, model=dataclasses.replace(config.model, n_mels=40))


def test_a_pass_takes_repeated_sources_several_times(
    make_config: MakeConfig, manifest: Path, tmp_path: Path
) -> None:
    other = tmp_path / "rare.jsonl"
    other.write_text(manifest.read_text().splitlines()[0] + "\n")
    data = DataConfig(train=(str(manifest), str(other)), repeat={"rare": 3, "absent": 7})
    trainer = Trainer(make_config(data=data))
    taken = [i for batch in trainer._batches for i in batch]
    assert sorted(taken) == [0, 1, 2, 3, 4, 4, 4]


def test_the_learning_rate_cools_down_to_its_end() -> None:
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=10, schedule="cooldown",
                             cooldown_steps=100, final_share=0.1)
    rates = [learning_rate(config, step, 1000) for step in range(1001)]
    assert rates[4] == pytest.approx(0.5)
    assert set(rates[10:901]) == {1.0}
    assert rates[950] == pytest.approx(0.55)
    assert rates[1000] == pytest.approx(0.1)


def test_dropout_may_change_on_the_way_but_no_shape(make_config: MakeConfig) -> None:
    def model(**settings: float) -> ModelConfig:
        return ModelConfig(**{"hidden_size": 16, "n_layers": 2, "conv_channels": 4} | settings)  # type: ignore[arg-type]

    trainer = Trainer(make_config(model=model()))
    trainer.save(LAST)
    Trainer(make_config(model=model(dropout=0.3)))
    with pytest.raises(BundleError, match="another shape"):
        Trainer(make_config(model=model(hidden_size=24)))
