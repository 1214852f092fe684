"""What training minimises: CTC at the output, and an auxiliary CTC at half depth."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.model import AcousticModel, ModelState, split_emissions
from asr.vocabulary import BLANK_ID

from .config import LossConfig
from .devices import send
from .teacher import TeacherHead


@dataclass(frozen=True)
class Targets:
    """Token ids of a batch, concatenated, and the length of each row (on the CPU)."""

    tokens: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class DenseTargets:
    """A teacher's states (batch, frames, size) for each output frame, and which exist."""

    states: Tensor
    exists: Tensor


def needed_frames(tokens: list[int]) -> int:
    """Output frames that CTC needs at least: one a token, and a blank between repeats."""
    repeats = sum(a == b for a, b in pairwise(tokens))
    return len(tokens) + repeats


class Objective(nn.Module):
    """The model with its loss, as one module, so that DDP sees every parameter."""

    def __init__(self, model: AcousticModel, config: LossConfig, teacher_size: int = 0) -> None:
        """With `teacher_size` above 0 the loss takes the teacher's states of that many numbers."""
        super().__init__()
        self.model, self.config = model, config
        self.middle = max(1, model.config.n_layers // 2)
        self.auxiliary = None
        if config.auxiliary_weight and model.config.n_layers > 1:
            size = model.config.hidden_size
            width = model.config.emissions * model.config.vocab_size
            self.auxiliary = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width))
        self.teacher = None
        if teacher_size:
            shape = model.config
            self.teacher = TeacherHead(shape.hidden_size, shape.emissions, teacher_size)

    def forward(
        self, features: Tensor, frames: Tensor, targets: Targets,
        state: ModelState | None = None, dense: DenseTargets | None = None,
        pieces: Targets | None = None,
    ) -> tuple[Tensor, ModelState]:
        """Loss per target token of a batch, and the state behind it, detached.

        `features` are (batch, frames, n_mels) with the look-ahead's padding; `frames` are the
        output frames of each row. Where the views' disagreement counts, the second half of the
        rows holds what the first does, augmented otherwise.
        """
        scores, middle, last, state = self._encode(features, state)
        delay = self.model.config.delay
        loss = ctc_loss(scores[:, delay:], frames, targets)
        if self.auxiliary is not None:
            early = split_emissions(self.auxiliary(middle), self.model.config.emissions)
            loss = loss + self.config.auxiliary_weight * ctc_loss(early, frames, targets)
        if self.config.consistency_weight:
            apart = disagreement(scores[:, delay:], frames, targets)
            loss = loss + self.config.consistency_weight * apart
        if pieces is not None:
            written = self.model.classify_pieces(last)[:, delay:]
            missed = ctc_loss(written, frames, pieces)
            if self.config.consistency_weight:
                apart = disagreement(written, frames, pieces)
                missed = missed + self.config.consistency_weight * apart
            loss = loss + self.config.piece_weight * missed
        if self.teacher is not None and dense is not None:
            error = self.teacher.loss(last, dense.states, dense.exists)
            loss = loss + self.config.teacher_weight * error
        return loss, state

    def _encode(
        self, features: Tensor, state: ModelState | None
    ) -> tuple[Tensor, Tensor, Tensor, ModelState]:
        """Log-probs, the hidden vectors at half depth and at the end, and the state.

        With `truncate_steps` the state is detached between pieces: back-propagation through
        time is cut there, while the state itself is carried on (Williams and Peng 1990).
        """
        size = self.config.truncate_steps * self.model.config.step_frames
        pieces = torch.split(features, size, dim=1) if size else (features,)
        scores, middles, lasts = [], [], []
        for piece in pieces:
            hidden, state = self.model.encode(piece, state)
            state = tuple(part.detach() for part in state)
            scores.append(self.model.classify(hidden[-1]))
            middles.append(hidden[self.middle])
            lasts.append(hidden[-1])
        assert state is not None
        return torch.cat(scores, dim=1), torch.cat(middles, dim=1), torch.cat(lasts, dim=1), state


def ctc_loss(log_probs: Tensor, frames: Tensor, targets: Targets) -> Tensor:
    """CTC loss in fp32 per target token; rows that cannot be aligned count zero."""
    total = F.ctc_loss(
        log_probs.float().transpose(0, 1),  # (frames, batch, vocab)
        targets.tokens,
        frames,
        targets.lengths,
        blank=BLANK_ID,
        reduction="sum",
        zero_infinity=True,
    )
    return total / max(1, int(targets.lengths.sum()))


def disagreement(log_probs: Tensor, frames: Tensor, targets: Targets) -> Tensor:
    """How differently two halves of a batch are heard, in nats per target token.

    The Kullback-Leibler divergence of each view from the other, summed over the frames of
    recordings; each is drawn to the other, which stands still (CR-CTC, Yao et al. 2024).
    """
    first, second = log_probs.float().chunk(2)
    apart = _divergence(first.detach(), second) + _divergence(second.detach(), first)
    places = torch.arange(apart.shape[1], device=apart.device)
    heard = places < send(frames[: len(first), None], apart.device)
    total: Tensor = (apart * heard).sum()
    return total / max(1, int(targets.lengths.sum()))


def _divergence(wanted: Tensor, found: Tensor) -> Tensor:
    """KL(wanted || found) of log-probs (batch, frames, vocab), for each frame."""
    return F.kl_div(found, wanted, reduction="none", log_target=True).sum(-1)
