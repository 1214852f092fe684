"""Dense targets of a teacher: aligned with the audio, learnt, and gone from the exported model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from asr.errors import BundleError, ManifestError
from asr.manifest import read_manifest
from asr.training.config import LossConfig, TrainConfig
from asr.training.teach import compress
from asr.training.teacher import FRAME_SECONDS, TeacherStates, write_states
from asr.training.trainer import LAST, Trainer

from .conftest import NO_AUGMENT

MakeConfig = Callable[..., TrainConfig]


def states(folder: Path, manifest: Path) -> list[NDArray[np.float32]]:
    """For each frame its number in its recording and the recording's number."""
    found = []
    for i, recording in enumerate(read_manifest(manifest)):
        frames = np.arange(round((recording.seconds or 0) / FRAME_SECONDS), dtype=np.float32)
        found.append(np.stack((frames, np.full_like(frames, i)), axis=1))
    write_states(folder, [r.audio for r in read_manifest(manifest)], found)
    return found


def with_teacher(config: TrainConfig, folder: Path, loss: LossConfig) -> TrainConfig:
    return replace(config, data=replace(config.data, teacher=str(folder)), loss=loss)


def test_each_output_frame_gets_the_state_that_the_delay_allows(
    make_config: MakeConfig, manifest: Path, tmp_path: Path
) -> None:
    states(tmp_path / "teacher", manifest)
    loss = LossConfig(auxiliary_weight=0.0, teacher_delay=3 * FRAME_SECONDS)
    trainer = Trainer(with_teacher(make_config(), tmp_path / "teacher", loss))
    dense = trainer.maker([2, 0], torch.Generator().manual_seed(0)).dense
    assert dense is not None
    for row, recording in enumerate((2, 0)):
        exists = dense.exists[row]
        assert exists.tolist().index(True) == 3
        frames = dense.states[row][exists]
        assert frames[:, 0].tolist() == list(range(len(frames)))
        assert set(frames[:, 1].tolist()) == {recording}


def test_noise_alone_takes_the_place_of_speech_and_teaches_to_write_nothing(
    make_config: MakeConfig, manifest: Path, tmp_path: Path
) -> None:
    states(tmp_path / "teacher", manifest)
    config = make_config(augment=replace(
        NO_AUGMENT, noise=1e-9, nonspeech=0.5, nonspeech_low=-40.0, nonspeech_high=-40.0
    ))  # fmt: skip
    hiss = np.random.default_rng(0).normal(0, 0.1, 32_000)
    soundfile.write(tmp_path / "hiss.wav", hiss, 16_000)
    noise = tmp_path / "noise.jsonl"
    noise.write_text(json.dumps({"audio": "hiss.wav", "kind": "hiss", "seconds": 2.0}))
    config = replace(config, data=replace(config.data, noise=(str(noise),)))
    loss = LossConfig(auxiliary_weight=0.0)
    maker = Trainer(with_teacher(config, tmp_path / "teacher", loss)).maker
    rows = [0, 1, 2, 3]
    batch = maker(rows, torch.Generator().manual_seed(1))
    audio = maker.samples(rows, torch.Generator().manual_seed(1))
    assert batch.dense is not None
    silent = [length == 0 for length in batch.targets.lengths.tolist()]
    assert sorted(set(silent)) == [False, True]
    assert [not row.any() for row in batch.dense.exists] == silent
    assert int(batch.targets.lengths.sum()) == len(batch.targets.tokens)
    assert maker.augmenter is not None
    maker.augmenter.config = replace(maker.augmenter.config, nonspeech=1.0)
    assert maker.augmenter.silence(audio, torch.Generator()) == rows
    level = 20 * float(audio[0].square().mean().sqrt().log10())
    assert level == pytest.approx(-40.0, abs=0.5)


def test_silence_before_and_another_speed_move_the_states(
    make_config: MakeConfig, manifest: Path, tmp_path: Path
) -> None:
    states(tmp_path / "teacher", manifest)
    loss = LossConfig(auxiliary_weight=0.0, teacher_delay=0.0)
    config = with_teacher(make_config(), tmp_path / "teacher", loss)
    augment = replace(config.augment, speeds=(2.0,), lead=1.0)
    trainer = Trainer(replace(config, augment=augment))
    placed = trainer.maker._assemble([1], torch.Generator().manual_seed(5))
    dense = trainer.maker([1], torch.Generator().manual_seed(5)).dense
    assert dense is not None
    first = dense.exists[0].tolist().index(True)
    assert first == -(-placed.leads[0] // 640)
    numbers = dense.states[0][dense.exists[0]][:, 0]
    assert set(numbers.diff().tolist()) == {2.0}


def test_the_teacher_is_learnt_and_not_exported(
    make_config: MakeConfig, manifest: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    recordings = read_manifest(manifest)
    # one state for the whole of each recording: hearing which it is is all that is asked
    found = [np.tile(rng.normal(size=(1, 3)), (60, 1)) for _ in recordings]
    write_states(tmp_path / "teacher", [r.audio for r in recordings], found)
    loss = LossConfig(auxiliary_weight=0.0, teacher_weight=10.0)
    trainer = Trainer(with_teacher(make_config(), tmp_path / "teacher", loss))

    def error() -> float:
        batch = trainer.maker([0, 1, 2, 3], torch.Generator().manual_seed(0))
        assert batch.dense is not None
        assert trainer.objective.teacher is not None
        hidden, _ = trainer.objective.model.encode(batch.features)
        dense = batch.dense
        return trainer.objective.teacher.loss(hidden[-1], dense.states, dense.exists).item()

    before = error()
    for _ in range(60):
        trainer.train_step()
    assert error() < 0.3 * before
    assert not [name for name in trainer.averaged_model().state_dict() if "teacher" in name]
    trainer.save(LAST)
    again = Trainer(trainer.config)
    assert again.step == 60
    alone = replace(trainer.config, data=replace(trainer.config.data, teacher=""))
    with pytest.raises(BundleError, match=r"last\.pt: was trained .* set data\.teacher"):
        Trainer(alone)


def test_states_of_other_recordings_are_refused(
    make_config: MakeConfig, manifest: Path, tmp_path: Path
) -> None:
    states(tmp_path / "teacher", manifest)
    listed = tmp_path / "teacher" / "recordings.jsonl"
    lines = [json.loads(line) for line in listed.read_text().splitlines()]
    lines[0], lines[1] = lines[1], lines[0]
    listed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = with_teacher(make_config(), tmp_path / "teacher", LossConfig())
    with pytest.raises(ManifestError, match="other recordings"):
        Trainer(config)
    with pytest.raises(ManifestError, match="no folder of teacher states"):
        TeacherStates.open(tmp_path, [])


def test_compressed_states_keep_what_varies_together() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(4000, 2)).astype(np.float32)
    mixed = hidden @ rng.normal(size=(2, 8)).astype(np.float32)
    noisy = (mixed + 0.01 * rng.normal(size=mixed.shape)).astype(np.float16)
    kept, share = compress([noisy[:1500], noisy[1500:]], 2, seed=0)
    assert [len(part) for part in kept] == [1500, 2500]
    assert share > 0.99
    found = np.concatenate(kept).astype(np.float32)
    assert np.mean(found.var(0)) == pytest.approx(1.0, abs=0.05)
    # the hidden numbers can be read from the components again
    solution, residual, *_ = np.linalg.lstsq(found, hidden, rcond=None)
    assert (residual / len(hidden) < 0.05).all()
    assert solution.shape == (2, 2)
