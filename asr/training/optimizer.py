"""Optimisers, the learning-rate schedule, and the moving average of the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .config import OptimizerConfig
from .muon import Muon
from .objective import Objective


class Both:
    """Two optimisers of different parameters, as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both, whose rates may be set."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """Change all parameters."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of optimisers of the same kind."""
        for part, values in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(values)


def make_optimizer(objective: Objective, config: OptimizerConfig) -> torch.optim.Optimizer | Both:
    """The optimiser of a run; biases and norms are not decayed."""
    hidden = _hidden_matrices(objective) if config.name == "muon" else []
    taken = {id(p) for p in hidden}
    decayed = [p for p in objective.parameters() if p.ndim > 1 and id(p) not in taken]
    others = [p for p in objective.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if config.name == "sgd":
        return torch.optim.SGD(
            groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0
        )
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    adam = kind(groups, lr=config.learning_rate, betas=(0.9, 0.98))
    if config.name != "muon":
        return adam
    return Both(
        Muon(hidden, lr=config.learning_rate, weight_decay=config.weight_decay), adam
    )


def _hidden_matrices(objective: Objective) -> list[nn.Parameter]:
    """Weights between hidden vectors; outputs and convolutions are better off with Adam."""
    model = objective.model
    parts = (model.front_end.project, *model.layers)
    return [p for part in parts for p in part.parameters() if p.ndim == 2]


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
