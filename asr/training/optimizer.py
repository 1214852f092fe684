"""Optimisers, the learning-rate schedule, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .config import OptimizerConfig


def make_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimiser of a run; biases and norms are not decayed."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if config.name == "sgd":
        return torch.optim.SGD(
            groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0
        )
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.learning_rate, betas=(0.9, 0.98))


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Rate for step `step` of `steps`: linear warm-up, then as `config.schedule` says."""
    peak = config.learning_rate
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return peak
    if config.schedule == "cooldown":
        left = min(1.0, (steps - step) / max(1, config.cooldown_steps))
        return peak * (config.final_share + (1 - config.final_share) * left)
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    share = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return peak * (config.final_share + (1 - config.final_share) * share)


class MovingAverage:
    """Exponential moving average of a module's parameters (Polyak and Juditsky 1992)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module; early on faster, so that the start is forgotten."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, value in module.state_dict().items():
            self.values[name].lerp_(value, 1 - decay)

    def load(self, values: dict[str, Tensor]) -> None:
        """Take the values of a checkpoint."""
        for name, value in values.items():
            self.values[name].copy_(value)
