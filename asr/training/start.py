"""What a run begins with: feature statistics of its data, a bundle's weights, a checkpoint."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from asr import schema
from asr.errors import BundleError

from . import checkpoint

if TYPE_CHECKING:
    from .trainer import Trainer

logger = logging.getLogger(__name__)

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


def resume(trainer: Trainer, path: Path) -> bool:
    """Go on from a checkpoint of this run; False if there is none.

    An output of word pieces may be added on the way. BundleError for a model of another shape.
    """
    if not path.exists():
        return False
    content = checkpoint.load(path)
    shape = schema.as_table(replace(trainer.config.model, dropout=0.0))
    # dropout shapes nothing and may change on the way; an output of pieces may be added
    found = {"pieces": 0} | content["config"]["model"] | {"dropout": 0.0}
    added = trainer.pieces is not None and not found["pieces"]
    if added:
        found["pieces"] = shape["pieces"]
    if found != shape:
        raise BundleError(path, "belongs to a model of another shape; choose another output")
    pieces = list(trainer.pieces.tokens) if trainer.pieces else []
    if content.get("pieces", []) != pieces and not added:
        raise BundleError(path, "writes other word pieces than data.pieces has")
    begun = trainer.objective.state_dict()
    new = {k: v for k, v in begun.items() if added and k.startswith("model.pieces.")}
    objective = content["objective"] | new
    if {k: v.shape for k, v in objective.items()} != {k: v.shape for k, v in begun.items()}:
        reason = "was trained with another teacher or auxiliary loss"
        raise BundleError(path, f"{reason}: set data.teacher and loss.auxiliary_weight as then")
    trainer.objective.load_state_dict(objective)
    trainer.average.load(content["average"] | new)
    same = content["config"]["optimizer"]["name"] == trainer.config.optimizer.name and not added
    if same and content["optimizer"] is not None:
        trainer.optimizer.load_state_dict(content["optimizer"])
    else:
        logger.warning("the optimiser begins afresh from these weights, with no state")
    trainer.extractor.mean.copy_(content["mean"])
    trainer.extractor.std.copy_(content["std"])
    device = trainer.place.device
    state = content["state"]
    # the file holds the streams of the first process only; with several, all start afresh
    if state is not None and trainer.place.world_size == 1:
        trainer.state = tuple(part.to(device) for part in state)
    trainer.step, trainer.passes, trainer.at = content["position"]
    trainer.hours, trainer.dropped = content["hours"], content["dropped"]
    trainer.best_cer = content["best_cer"]
    return True
