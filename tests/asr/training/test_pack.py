"""Promises of `asrd pack`: a run goes on elsewhere, and comes back, as if it had stayed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr.errors import ManifestError
from asr.manifest import read_manifest
from asr.model import ModelConfig
from asr.training import checkpoint
from asr.training.config import (
    AugmentConfig,
    LossConfig,
    OptimizerConfig,
    TrainConfig,
    as_toml,
    read_config,
)
from asr.training.dataset import BatchMaker
from asr.training.objective import disagreement
from asr.training.pack import pack_run
from asr.training.teacher import write_states
from asr.training.trainer import LAST, Trainer
from asr.vocabulary import BLANK, LETTERS
from service.cli import main

MakeConfig = Callable[..., TrainConfig]
LIMIT = 150_000


@pytest.fixture
def config(make_config: MakeConfig, manifest: Path, tmp_path: Path) -> TrainConfig:
    """A run that uses all that can be packed, in three sources with a name twice."""
    (tmp_path / "other").mkdir()
    for name in ("0.wav", "2.wav"):
        samples, rate = soundfile.read(tmp_path / name)
        soundfile.write(tmp_path / "other" / name, samples[:-100], rate)
    rows = [
        {"audio": f"other/{i}.wav", "text": "stop", "seconds": seconds, "agreement": agreement}
        for i, seconds, agreement in ((0, 1.0, 0.9), (2, 99.0, 0.9), (0, 1.0, 0.1), (2, 1.0, 0.9))
    ]
    (tmp_path / "rare.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "both.jsonl").write_text(
        json.dumps({"audio": "other/0.wav", "text": "what"}) + "\n"
        + json.dumps({"audio": "0.wav", "text": "turn on the light"}) + "\n"
    )
    noise = np.random.default_rng(0).normal(size=8000).astype(np.float32) * 0.01
    for kind in ("rain", "music"):
        soundfile.write(tmp_path / f"{kind}.wav", noise, 16_000)
    kinds = [{"audio": f"{kind}.wav", "kind": kind} for kind in ("music", "rain")]
    (tmp_path / "noise.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kinds))
    made = make_config(
        model=ModelConfig(hidden_size=32, n_layers=2, conv_channels=4, dropout=0.2),
        augment=AugmentConfig(noise=0.5, room_count=2, rooms=0.5),
        loss=LossConfig(auxiliary_weight=0.3),
        optimizer=OptimizerConfig(ema=0.99, warmup_steps=3),
    )
    data = replace(
        made.data, batch_rows=3, minimum={"agreement": 0.5}, repeat={"rare": 2},
        train=tuple(str(tmp_path / f"{n}.jsonl") for n in ("train", "rare", "both")),
        noise=(str(tmp_path / "noise.jsonl"),), noise_exclude="music",
        teacher=str(tmp_path / "teacher"), pieces=str(tmp_path / "pieces.txt"),
    )
    pieces = (BLANK, "▁", "▁the", "▁t", "ing", *LETTERS)
    (tmp_path / "pieces.txt").write_text("\n".join(pieces) + "\n")
    audio = [r.audio for r in read_manifest(manifest)]
    audio += [Path("other/0.wav"), Path("other/2.wav"), Path("other/0.wav"), Path("0.wav")]
    rng = np.random.default_rng(1)
    write_states(tmp_path / "teacher", audio, [rng.normal(size=(50, 3)) for _ in audio])
    return replace(made, data=data)


def losses(trainer: Trainer, steps: int) -> list[float]:
    return [trainer.train_step()[0] for _ in range(steps)]


def test_a_run_goes_on_elsewhere_and_comes_back(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders: trained here, packed, trained there, packed, trained here again."""
    expected = losses(
        Trainer(replace(config, run=replace(config.run, output=str(tmp_path / "whole")))), 6
    )
    trainer = Trainer(config)
    found = losses(trainer, 2)
    trainer.save(LAST)
    run = tmp_path / "run"
    toml = tmp_path / "here.toml"
    toml.write_text(as_toml(config))
    parts, there = tmp_path / "parts", tmp_path / "there"
    size = f"--part-mb={LIMIT / 1e6}"
    assert main(["pack", str(toml), str(parts), size, "--checkpoint", str(run / LAST)]) == 0
    assert max(path.stat().st_size for path in parts.iterdir()) <= LIMIT
    assert main(["unpack", str(parts), str(there)]) == 0

    monkeypatch.chdir(there)
    read = ("*.jsonl", "*.wav", "other/*", "pieces.txt")
    for path in [path for pattern in read for path in tmp_path.glob(pattern)]:
        path.rename(path.with_name(f"gone-{path.name}"))  # nothing of the old place is used
    trainer = Trainer(read_config(Path("train.toml"), ["run.device=cpu"]))
    assert trainer.step == 2
    found += losses(trainer, 2)
    trainer.save(LAST)
    back = tmp_path / "back"
    assert main(["pack", "--weights", f"run/{LAST}", str(back), size]) == 0
    assert max(path.stat().st_size for path in back.iterdir()) <= LIMIT
    assert len(list(back.glob("*.tar"))) > 1

    for path in tmp_path.rglob("gone-*"):
        path.rename(path.with_name(path.name.removeprefix("gone-")))
    assert main(["unpack", str(back), str(run)]) == 0
    content = checkpoint.load(run / LAST)
    torch.testing.assert_close(content["average"], trainer.average.values, rtol=0, atol=0)
    trainer = Trainer(config)
    assert trainer.step == 4
    assert found + losses(trainer, 2) == expected


def test_only_what_the_run_takes_is_packed(config: TrainConfig, tmp_path: Path) -> None:
    pack_run(config, tmp_path / "parts", LIMIT)
    assert main(["unpack", str(tmp_path / "parts"), str(tmp_path / "out")]) == 0
    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.wav")}
    train = {f"audio/train-000/{i}.wav" for i in range(4)}
    assert names == train | {
        "audio/train-001/0.wav", "audio/train-001/2.wav", "audio/noise/rain.wav"
    }
    packed = read_config(tmp_path / "out" / "train.toml")
    assert packed.data.repeat == {"train-001.jsonl": 2}
    assert packed.model == config.model
    assert packed.optimizer == config.optimizer


def test_a_limited_run_is_packed_in_the_order_that_it_has(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = make_config()
    limited = replace(limited, data=replace(limited.data, limit_hours=5 / 3600))
    pack_run(limited, tmp_path / "parts", LIMIT)
    assert main(["unpack", str(tmp_path / "parts"), str(tmp_path / "out")]) == 0
    here = [r.text for r in Trainer(limited).train_set.recordings]
    monkeypatch.chdir(tmp_path / "out")
    there = Trainer(read_config(Path("train.toml"), ["run.device=cpu"]))
    assert [r.text for r in there.train_set.recordings] == here
    assert len(here) == 2


def test_parts_that_are_missing_are_told_in_one_line(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_run(config, tmp_path / "parts", LIMIT)
    (tmp_path / "parts" / "part-01.tar").unlink()
    assert main(["unpack", str(tmp_path / "parts"), str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert "parts are still missing: part-01.tar" in message
    assert message.count("\n") == 1


def test_what_the_trainer_would_refuse_is_not_packed(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "rare.jsonl").write_text(json.dumps({"audio": "0.wav", "text": "7 of them"}))
    with pytest.raises(ManifestError, match="no token for"):
        pack_run(config, tmp_path / "parts", LIMIT)
    assert not (tmp_path / "parts").exists()


def test_weights_are_packed_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "--weights", "--set", "a.b=1", "last.pt", str(tmp_path / "x")]) == 2
    assert main(["pack", "--part-mb=nan", "last.toml", str(tmp_path / "x")]) == 2
    assert main(["pack", "--weights", str(tmp_path / "last.pt"), str(tmp_path / "x")]) == 1
    assert "no such checkpoint" in capsys.readouterr().err


def test_no_part_of_a_batch_leaves_or_waits_for_the_device(config: TrainConfig) -> None:
    """On torch's meta device every read of a value, and every mix of devices, is an error."""
    trainer, device = Trainer(config), torch.device("meta")
    assert trainer.maker.augmenter is not None
    assert trainer.maker.teacher is not None
    augmenter = trainer.maker.augmenter
    augmenter.config = replace(augmenter.config, rooms=1.0, nonspeech=0.5)
    augmenter.noise, augmenter.rooms = augmenter.noise.to(device), augmenter.rooms.to(device)
    maker = BatchMaker(
        trainer.train_set.to(device), trainer.extractor.to(device), config.model, augmenter,
        trainer.maker.teacher.to(device), 0.16, views=2,
    )
    batch = maker([0, 2, 5], torch.Generator().manual_seed(1))
    assert batch.dense is not None
    assert batch.pieces is not None
    on_device = (batch.features, batch.targets.tokens, batch.pieces.tokens, batch.dense.states,
                 batch.dense.exists)  # fmt: skip
    assert {part.device for part in on_device} == {device}
    # CTC reads the lengths on the CPU
    assert {part.device.type for part in (batch.frames, batch.targets.lengths)} == {"cpu"}
    hidden, _ = trainer.objective.to(device).model.encode(batch.features)
    written = trainer.objective.model.classify(hidden[-1])
    apart = disagreement(written, batch.frames, batch.targets)
    torch.autograd.backward([written.sum(), apart])
    norm = torch.nn.utils.clip_grad_norm_(trainer.objective.parameters(), 1.0)
    trainer._forget_unless(torch.isfinite(norm))
