"""Muon: updates of weight matrices without their preferred directions.

The momentum of a matrix is replaced by the nearest matrix whose singular values are all 1
(Jordan et al. 2024, https://kellerjordan.github.io/posts/muon), its rows are brought to one
size by a running mean of their squares (NorMuon, arXiv 2510.05491), and the whole to the size
of an update of AdamW, so that both share a learning rate (arXiv 2502.16982).

torch has a Muon too, but that multiplies in bf16, which takes a processor without such an
instruction many times longer, and lets each process of a group repeat the work of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed, nn

ROOT_MEAN_SQUARE = 0.2
"""Of the numbers of an update, in learning rates: what AdamW's are for noisy gradients."""

_COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
)
"""Of the polynomials a + b x^2 + c x^4 that take singular values towards 1 (Polar Express,
arXiv 2505.16932), the first four: another would cost more than it gives."""


def flattener(matrix: Tensor) -> Tensor:
    """(rows, rows) that makes all larger singular values of a wide matrix (rows, columns) one.

    The polynomials are multiplied up on the matrix's Gram matrix, a fifth of the work for the
    weights of a cell, whose longer side is four times the shorter.
    """
    size = matrix.norm() * 1.02 + 1e-12
    gram = matrix @ matrix.mT / size**2
    product: Tensor | None = None
    for a, b, c in _COEFFICIENTS:
        factor = torch.addmm(b * gram, gram, gram, alpha=c)
        factor.diagonal().add_(a)
        product = factor if product is None else factor @ product
        gram = factor @ gram @ factor
        gram = (gram + gram.mT) / 2  # rounding must not grow
    assert product is not None
    result: Tensor = product / size
    return result


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two dimensions; others raise ValueError.

    The processes of a group share the matrices out and tell each other the updates.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float,
        momentum: float = 0.95, row_decay: float = 0.95, every: int = 4,
    ) -> None:
        """What flattens a matrix is computed every so many steps only: momentum turns slowly."""
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "row_decay": row_decay,
            "every": every,
        }
        super().__init__(parameters, defaults)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2:
                    raise ValueError(f"Muon takes matrices, got a shape of {parameter.shape}")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change every matrix that has a gradient."""
        grouped = distributed.is_initialized()
        size = distributed.get_world_size() if grouped else 1
        rank = distributed.get_rank() if grouped else 0
        for group in self.param_groups:
            chosen = [p for p in group["params"] if p.grad is not None]
            updates = [
                self._update(p, group, mine=i % size == rank) for i, p in enumerate(chosen)
            ]
            if size > 1:
                for work in [
                    distributed.broadcast(update, i % size, async_op=True)
                    for i, update in enumerate(updates)
                ]:
                    work.wait()
            for parameter, update in zip(chosen, updates, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(self._level(parameter, update, group), alpha=-group["lr"])

    def _update(self, parameter: nn.Parameter, group: dict[str, Any], *, mine: bool) -> Tensor:
        """The orthogonal update, or room for what another process makes of it."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
            state["rows"] = gradient.new_zeros(len(gradient), 1)
            state["step"] = torch.zeros(())
        buffer = state["momentum"]
        buffer.lerp_(gradient, 1 - group["momentum"])
        if not mine:
            return torch.empty_like(gradient, memory_format=torch.contiguous_format)
        update = gradient.lerp(buffer, group["momentum"])
        wide = update if update.shape[0] <= update.shape[1] else update.mT
        if "flattener" not in state or int(state["step"]) % group["every"] == 0:
            state["flattener"] = flattener(wide)
        flat: Tensor = state["flattener"] @ wide
        return (flat if wide is update else flat.mT).contiguous()

    def _level(self, parameter: nn.Parameter, update: Tensor, group: dict[str, Any]) -> Tensor:
        """The update with rows of like size, and the size of AdamW's."""
        state = self.state[parameter]
        state["step"] += 1
        state["rows"].lerp_(update.square().mean(1, keepdim=True), 1 - group["row_decay"])
        unbiased = state["rows"] / (1 - group["row_decay"] ** float(state["step"]))
        update = update / (unbiased.sqrt() + 1e-8)
        return update * (ROOT_MEAN_SQUARE / (update.square().mean().sqrt() + 1e-12))
