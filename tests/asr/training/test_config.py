"""Promises of the settings file."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.errors import ConfigError
from asr.training.config import expand, read_config


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "train.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[data]\ntrain = ['a']\n[model]\nhiden_size = 3", "did you mean 'hidden_size'"),
        ("[data]\ntrain = ['a']\n[model]\ncell = 'elman'", "model.cell must be one of 'rnn_tanh'"),
        ("[data]\ntrain = ['a']\n[model]\nn_layers = 'two'", "model.n_layers must be a whole"),
        ("[data]\ntrain = ['a']\n[run]\nsteps = true", "run.steps must be a whole number"),
        ("[model]\nn_layers = 2", "missing key 'data'"),
        ("[data]\ndev = []", "missing key 'data.train'"),
        ("[data", "not valid TOML"),
        ("[data]\ntrain = 'a'", "data.train must be a list"),
        ("[data]\ntrain = ['a']\n[model]\nemissions = 3", "must divide"),
    ],
)
def test_mistakes_are_named_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        read_config(tmp_path / "none.toml")


def test_overrides_win(tmp_path: Path) -> None:
    path = write(tmp_path, "[data]\ntrain = ['a']\n[run]\nsteps = 5")
    config = read_config(path, ["run.steps=7", "model.cell=gru", "data.minimum={agreement=0.8}"])
    assert (config.run.steps, config.model.cell) == (7, "gru")
    assert config.data.minimum == {"agreement": 0.8}
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        read_config(path, ["run.steps"])


def test_paths_take_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECH", "/data")
    assert expand("${SPEECH}/x.jsonl") == Path("/data/x.jsonl")
    monkeypatch.delenv("SPEECH")
    with pytest.raises(ConfigError, match="SPEECH is not set"):
        expand("${SPEECH}/x.jsonl")
