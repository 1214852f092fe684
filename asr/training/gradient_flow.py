"""How the gradient of the loss at one time fades or grows on its way into the past."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asr.model import AcousticModel

from .dataset import FeatureBatch
from .objective import ctc_loss

TIMES = (0.95, 0.85, 0.75, 0.65)
"""Places in the shortest utterance, as shares of it, whose loss is followed back."""
LARGEST = 1e30
"""What an overflown gradient counts as."""


@dataclass(frozen=True)
class Flow:
    """Gradients at one state of the weights, on one batch."""

    whole: list[float]
    """Norm of the gradient at the states 1, 2, ... steps before the loss, over that 1 step before:
    the mean over times and recordings."""
    truncated: list[float]
    """The same with back-propagation cut every so many steps; beyond a cut it is 0."""
    norm_whole: float
    """Of the gradient at all weights, before clipping."""
    norm_truncated: float
    scale: float
    """What clipping multiplies the gradient by, at whichever distance: 1 leaves it alone."""
    cosine: float
    """Between the gradients of whole and truncated back-propagation."""


def measure(
    model: AcousticModel, batch: FeatureBatch, *, distance: int, truncate: int, clip_norm: float
) -> Flow:
    """Follow gradients `distance` steps back; weights, their gradients and modes stay."""
    modes = {module: module.training for module in model.modules()}
    for module in modes:
        # cuDNN gives gradients of recurrent layers in training mode only
        module.training = not isinstance(module, nn.Dropout)
    try:
        entering = loss_gradient(model, batch)
        whole = decay(model, batch, entering, distance, 0)
        truncated = decay(model, batch, entering, distance, truncate)
        full, cut = weight_gradient(model, batch, 0), weight_gradient(model, batch, truncate)
    finally:
        for module, training in modes.items():
            module.training = training
    norm = full.norm().item()
    return Flow(
        whole, truncated, norm, cut.norm().item(),
        min(1.0, clip_norm / norm) if clip_norm and norm else 1.0,
        nn.functional.cosine_similarity(full, cut, dim=0).item(),
    )


def loss_gradient(model: AcousticModel, batch: FeatureBatch) -> Tensor:
    """What CTC asks of each output frame: its gradient (batch, frames, vocab) at the log-probs.

    CTC's loss is one number for all frames. The part that enters the network at one of them is
    what is called the loss at a time here.
    """
    with torch.no_grad():
        log_probs, _ = model(batch.features)
    log_probs.requires_grad_()
    loss = ctc_loss(log_probs[:, model.config.delay :], batch.frames, batch.targets)
    gradient: Tensor = torch.autograd.grad(loss, log_probs)[0]
    return gradient


def decay(
    model: AcousticModel, batch: FeatureBatch, entering: Tensor, distance: int, truncate: int
) -> list[float]:
    """Relative norms of the gradient at the recurrent states 1 to `distance` steps back, or
    as far as the utterances go.

    The states of all layers between two steps are, but for three feature frames that the
    convolutions keep, the only way into the past: their gradient is what flows there.
    """
    config, rows = model.config, len(batch.features)
    recurrent = _recurrent(model)
    state = _leaves(model.initial_state(rows))
    states, scores = [], []
    for step, piece in enumerate(torch.split(batch.features, config.step_frames, dim=1)):
        if truncate and step % truncate == 0:
            state = _leaves(state)
        states.append(state[recurrent])
        log_probs, state = model(piece, state)
        scores.append(log_probs)
    total, counts = torch.zeros(distance), torch.zeros(distance)
    steps = int(batch.frames.min()) // config.emissions
    for at in (round(share * steps) - 1 for share in TIMES):
        late = at + config.lookahead  # the step that tells what is heard at this one
        asked = entering[:, late * config.emissions : (late + 1) * config.emissions]
        # only its direction counts, and tiny numbers would vanish on the way
        asked = asked / asked.flatten(1).norm(dim=1).clamp(min=1e-20)[:, None, None]
        loss = (scores[late] * asked).sum()
        reached = [states[at - back] for back in range(min(distance, at + 1))]
        gradients = torch.autograd.grad(
            loss, [part for parts in reached for part in parts],
            retain_graph=True, allow_unused=True,
        )
        size = len(reached[0])
        norms = torch.stack(
            [_norm(gradients[i : i + size], rows) for i in range(0, len(gradients), size)]
        )  # (distance, batch)
        total[: len(norms)] += (norms / norms[0].clamp(min=1e-30)).mean(dim=1)
        counts[: len(norms)] += 1
    mean = (total / counts)[counts > 0].nan_to_num(nan=LARGEST, posinf=LARGEST)
    return [float(value) for value in mean]


def weight_gradient(model: AcousticModel, batch: FeatureBatch, truncate: int) -> Tensor:
    """The gradient of the batch's CTC loss at all weights, as one vector."""
    size = truncate * model.config.step_frames
    state, scores = None, []
    for piece in torch.split(batch.features, size, dim=1) if size else (batch.features,):
        log_probs, state = model(piece, state)
        state = tuple(part.detach() for part in state)
        scores.append(log_probs)
    log_probs = torch.cat(scores, dim=1)[:, model.config.delay :]
    loss = ctc_loss(log_probs, batch.frames, batch.targets)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def _leaves(state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Tensors of their own (an initial state names one tensor twice), cut from their past."""
    return tuple(part.detach().clone().requires_grad_() for part in state)


def _recurrent(model: AcousticModel) -> slice:
    """The places of the recurrent layers' tensors in the model's state."""
    first = len(model.front_end.initial_state(1))
    count = sum(len(layer.initial_state(1)) for layer in model.layers)  # type: ignore[operator,misc]
    return slice(first, first + count)


def _norm(gradients: tuple[Tensor | None, ...], batch: int) -> Tensor:
    """(batch,) over the tensors of the state between two steps; 0 where nothing arrived."""
    squares = [part.square().sum(dim=1) for part in gradients if part is not None]
    return torch.stack(squares).sum(dim=0).sqrt().cpu() if squares else torch.zeros(batch)
