"""The settings of a training run, read from TOML."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from asr import schema
from asr.errors import ConfigError
from asr.features import FeatureConfig
from asr.model import ModelConfig


@dataclass(frozen=True)
class DataConfig:
    """What is learnt from. `${NAME}` in paths stands for an environment variable."""

    train: tuple[str, ...]
    """Manifests, LibriSpeech folders, or Common Voice TSV files."""
    dev: tuple[str, ...] = ()
    """Recordings to judge checkpoints by; never trained on."""
    dev_utterances: int = 100
    noise: tuple[str, ...] = ()
    """Manifests of noise recordings (`audio`, `kind`)."""
    noise_exclude: str = ""
    """Regular expression: noise whose `kind` matches is left out."""
    teacher: str = ""
    """Folder of a teacher's states for exactly these recordings (`asr.training.teacher`)."""
    pieces: str = ""
    """Word pieces, one a line behind the blank (`python -m asr.training.pieces`): a second output
    learns to write them."""
    cache: str = ""
    """Folder that keeps decoded audio between runs; beside the checkpoints if empty."""
    minimum: dict[str, float] = field(default_factory=dict)
    """Bounds on further keys of the manifests, as `agreement = 0.7`; lines without the key
    stay."""
    repeat: dict[str, int] = field(default_factory=dict)
    """How often a pass takes the recordings of sources whose path holds a text; else once."""
    max_seconds: float = 21.0
    batch_seconds: float = 320.0
    """Seconds of padded audio in a batch."""
    batch_rows: int = 96
    sorted_passes: int = 1
    """Passes at the start that go from short to long utterances."""
    limit_hours: float | None = None
    """Use only so many hours of the training data, chosen by the seed."""


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of the audio and its features, batch by batch."""

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    gain_low: float = -20.0
    """Decibels."""
    gain_high: float = 6.0
    noise: float = 0.5
    """Share of the recordings that get additive noise."""
    nonspeech: float = 0.0
    """Share of the recordings whose place noise alone takes: nothing is to be written then."""
    nonspeech_low: float = -75.0
    """Level of that noise, in dBFS."""
    nonspeech_high: float = -15.0
    snr_low: float = 3.0
    snr_high: float = 30.0
    rooms: float = 0.25
    """Share of the recordings that are put into a simulated room."""
    room_count: int = 96
    rt60_low: float = 0.1
    """Seconds that the reverberation takes to fall by 60 dB."""
    rt60_high: float = 0.8
    lead: float = 0.4
    """Seconds of silence before the speech, at most."""
    trail: float = 0.3
    """Seconds of silence after the speech, at most, besides the bundle's tail padding."""
    warp: float = 0.0
    """Frequencies are stretched by a factor of 1 minus to 1 plus this."""
    equalizer: float = 0.0
    """Decibels (root mean square) of a random colouring, as of another microphone."""
    time_masks: int = 2
    time_mask_seconds: float = 0.4
    time_mask_share: float = 0.15
    """One time mask covers at most this share of the utterance."""
    frequency_masks: int = 2
    frequency_mask_bins: int = 15


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights are changed."""

    name: Literal["adamw", "adam", "sgd", "muon"] = "adamw"
    """With "muon" the matrices of the hidden layers take Muon, everything else AdamW."""
    learning_rate: float = 1.5e-3
    momentum: float = 0.9
    """Of SGD."""
    weight_decay: float = 0.01
    warmup_steps: int = 300
    schedule: Literal["cosine", "constant", "cooldown"] = "cosine"
    cooldown_steps: int = 1000
    """With "cooldown": constant until so many steps before the end, then a line down (Hägele et
    al. 2024). A run whose end is not known yet is resumed with another `run.steps`."""
    final_share: float = 0.02
    """Learning rate at the end, as a share of its peak."""
    clip_norm: float = 1.0
    ema: float = 0.999
    """Decay of the moving average of the weights, which is what gets exported; 0: none."""


@dataclass(frozen=True)
class LossConfig:
    """What is minimised, and through how much time gradients flow."""

    auxiliary_weight: float = 0.3
    """Weight of a second CTC at half depth; it is not exported."""
    teacher_weight: float = 1.0
    """Weight of predicting the teacher's states, where `data.teacher` has some."""
    teacher_delay: float = 0.16
    """Seconds by which the prediction may come later than what it is about."""
    piece_weight: float = 0.5
    """Weight of the CTC of word pieces, where there are some."""
    consistency_weight: float = 0.0
    """Weight of what two views of a recording, each with colouring and masks of its own, are
    heard differently (CR-CTC, arXiv 2410.05101). Above 0 a batch holds each recording twice."""
    truncate_steps: int = 0
    """Recurrent steps after which gradients through time are cut; 0: whole utterances."""
    carry_state: bool = False
    """Rows of a batch are streams: each starts from the state the last utterance left."""


@dataclass(frozen=True)
class RunConfig:
    """Where and how long."""

    output: str = "runs/asr"
    steps: int = 10_000
    minutes: float | None = None
    """Stop with a checkpoint after so long; `asrd train` on the same folder resumes."""
    seed: int = 1
    device: str = "auto"
    threads: int = 0
    """CPU threads; 0: torch's choice."""
    precision: Literal["bf16", "fp32"] = "bf16"
    start_from: str = ""
    """A model bundle to start warm from."""
    checkpoint_minutes: float = 5.0
    evaluate_steps: int = 500
    """Steps between evaluations; 0: only at the end."""


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run."""

    data: DataConfig
    features: FeatureConfig = field(default_factory=FeatureConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.features.n_mels != self.model.n_mels:
            raise ConfigError(
                f"features.n_mels is {self.features.n_mels} but model.n_mels {self.model.n_mels}"
            )


def read_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a TOML file; each override is `section.key=value` with a TOML value.

    Raises ConfigError naming the file and the key.
    """
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    for override in overrides:
        _apply(table, override)
    try:
        return schema.build(TrainConfig, table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def as_toml(config: TrainConfig) -> str:
    """The settings as a file that `read_config` understands."""
    lines = []
    for section, table in schema.as_table(config).items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {_value(v)}" for key, v in table.items() if v is not None]
        lines.append("")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_value(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):  # JSON's escapes are TOML's
        return json.dumps(value, ensure_ascii=False)
    return repr(value).lower()  # true, false, numbers, inf


def expand(text: str) -> Path:
    """A path with its `${NAME}` replaced from the environment; ConfigError if not set."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ConfigError(f"{text}: the environment variable {name} is not set")
        return os.environ[name]

    return Path(re.sub(r"\$\{(\w+)\}", value, text)).expanduser()


def _apply(table: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    *sections, name = key.strip().split(".")
    if not equals or not name:
        raise ConfigError(f"{override!r} is not of the form section.key=value")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word is a string
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{override!r}: {section} is not a section")
    table[name] = parsed
