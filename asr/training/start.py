"""What a run begins with: feature statistics of its data, or the weights of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from asr.errors import BundleError

if TYPE_CHECKING:
    from .trainer import Trainer

STATISTICS_BATCHES = 24
MIN_VARIANCE = 0.25
"""Speech has variances of 5 to 10. A band that the data never uses must not become a
magnifying glass for rounding noise."""


@torch.no_grad()
def set_statistics(trainer: Trainer) -> None:
    """Mean and standard deviation of each mel bin over some augmented training audio."""
    generator = torch.Generator().manual_seed(trainer.config.run.seed)
    count = len(trainer.train_set.tokens)
    total = squares = torch.zeros(trainer.config.features.n_mels, dtype=torch.float64)
    frames = 0
    for _ in range(STATISTICS_BATCHES):
        rows = torch.randint(count, (min(count, 16),), generator=generator).tolist()
        samples = trainer.maker.samples(rows, generator)
        mels = trainer.extractor.log_mel(samples).flatten(0, 1).double().cpu()
        total = total + mels.sum(0)
        squares = squares + mels.square().sum(0)
        frames += len(mels)
    mean = total / frames
    std = (squares / frames - mean.square()).clamp(min=MIN_VARIANCE).sqrt()
    trainer.extractor.mean.copy_(mean)
    trainer.extractor.std.copy_(std)


def warm_start(trainer: Trainer, path: Path) -> None:
    """Take weights and statistics of a bundle; BundleError if its shape differs."""
    from asr.bundle import load_bundle  # all of decoding comes with it

    bundle = load_bundle(path)
    wanted, found = trainer.config.model, bundle.manifest.model
    ignored = {"dropout"} if found.pieces else {"dropout", "pieces"}
    for name in wanted.__dataclass_fields__:
        a, b = getattr(found, name), getattr(wanted, name)
        if a != b and name not in ignored:
            raise BundleError(path, f"model.{name} is {a} in the bundle and {b} in the config")
    if bundle.manifest.features != trainer.config.features:
        raise BundleError(path, "its feature settings differ from those of the config")
    if bundle.vocabulary.tokens != trainer.vocabulary.tokens:
        raise BundleError(path, "its vocabulary differs from that of the run")
    if bundle.pieces and trainer.pieces and bundle.pieces.tokens != trainer.pieces.tokens:
        raise BundleError(path, "it writes other word pieces than data.pieces has")
    begun = trainer.objective.model.state_dict()  # pieces that the bundle lacks begin at random
    trainer.objective.model.load_state_dict(begun | bundle.model.state_dict())
    trainer.extractor.mean.copy_(bundle.extractor.mean)
    trainer.extractor.std.copy_(bundle.extractor.std)
