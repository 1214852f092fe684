"""The acoustic model: log-mel frames to CTC log-probabilities, with explicit state.

Two strided convolutions over time and frequency, a projection that stacks their frames,
residual recurrent layers with layer normalisation, optionally a row convolution as
look-ahead, and a linear layer. Everything sees only the past, through its state, so that
one forward serves training, whole files and streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import ConfigError
from .recurrent import RecurrentLayer

ModelState = tuple[Tensor, ...]
"""Everything the model remembers. Every tensor has the batch dimension first."""

Cell = Literal["rnn_tanh", "rnn_relu", "gru", "lstm"]

CONV_STRIDE = 4
"""Feature frames behind one frame of the convolutional front end (two strides of 2)."""


@dataclass(frozen=True)
class ModelConfig:
    """Shape of an acoustic model; part of a model bundle."""

    cell: Cell = "lstm"
    n_mels: int = 80
    conv_channels: int = 32
    """Channels of the second convolution; the first, at twice the frame rate, has half."""
    hidden_size: int = 416
    n_layers: int = 4
    stack: int = 2
    """Front-end frames (40 ms each at a hop of 10 ms) that one recurrent step takes."""
    emissions: int = 2
    """Output frames that one recurrent step gives."""
    lookahead: int = 0
    """Recurrent steps of right context; output comes that much later."""
    dropout: float = 0.0
    vocab_size: int = 29
    pieces: int = 0
    """Tokens of a second output, of word pieces; 0: there is none. Free speech is
    read in them: they hold whole words where letters misspell; grammars are searched in letters."""

    def __post_init__(self) -> None:
        if self.cell not in get_args(Cell):
            raise ConfigError(f"unknown cell {self.cell!r}: use one of {', '.join(get_args(Cell))}")
        if self.pieces < 0 or self.pieces == 1:
            raise ConfigError(f"pieces must be 0 or at least 2, got {self.pieces}")
        for name in ("n_mels", "hidden_size", "n_layers", "stack", "emissions"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.conv_channels < 2 or self.conv_channels % 2:
            raise ConfigError(f"conv_channels must be even and above 0, got {self.conv_channels}")
        if self.lookahead < 0 or not 0 <= self.dropout < 1 or self.vocab_size < 2:
            raise ConfigError(
                "a model needs lookahead >= 0, 0 <= dropout < 1 and vocab_size >= 2, got "
                f"{self.lookahead}, {self.dropout}, {self.vocab_size}"
            )
        if self.step_frames % self.emissions:
            raise ConfigError(
                f"emissions ({self.emissions}) must divide the {self.step_frames} frames of a step"
            )

    @property
    def step_frames(self) -> int:
        """Feature frames that one recurrent step takes."""
        return CONV_STRIDE * self.stack

    @property
    def subsampling(self) -> int:
        """Feature frames behind one output frame."""
        return self.step_frames // self.emissions

    @property
    def delay(self) -> int:
        """Output frames at the start of a stream that precede its first frame."""
        return self.lookahead * self.emissions


class CausalConv2d(nn.Module):
    """A 3x3 convolution with stride 2 that sees the past through its state, not padding."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, stride=2, padding=(0, 1))
        # this layout makes convolutions on a CPU twice as fast
        weight = self.conv.weight.contiguous(memory_format=torch.channels_last)
        self.conv.weight = nn.Parameter(weight)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, n_in, frames, bins) to (batch, n_out, frames / 2, ceil(bins / 2))."""
        x = torch.cat((past, x), dim=2)
        return F.relu(self.conv(x)), x[:, :, -1:]


class FrontEnd(nn.Module):
    """Feature frames to the input vectors of the recurrent layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.stack = config.stack
        self.bins = (config.n_mels, -(-config.n_mels // 2))
        self.channels = (1, config.conv_channels // 2)
        self.first = CausalConv2d(1, config.conv_channels // 2)
        self.second = CausalConv2d(config.conv_channels // 2, config.conv_channels)
        width = config.stack * config.conv_channels * -(-self.bins[1] // 2)
        self.project = nn.Linear(width, config.hidden_size)

    def initial_state(self, batch_size: int) -> ModelState:
        new_zeros = self.project.weight.new_zeros
        return tuple(
            new_zeros(batch_size, channels, 1, bins)
            for channels, bins in zip(self.channels, self.bins, strict=True)
        )

    def forward(self, features: Tensor, state: ModelState) -> tuple[Tensor, ModelState]:
        x, past_first = self.first(features[:, None], state[0])
        x, past_second = self.second(x, state[1])  # (batch, channels, frames / 4, bins / 4)
        x = x.transpose(1, 2).flatten(2)  # (batch, frames / 4, channels * bins / 4)
        x = x.reshape(len(x), x.shape[1] // self.stack, -1)  # (batch, steps, stacked)
        return self.project(x), (past_first, past_second)


class RowConvolution(nn.Module):
    """Look-ahead: output t mixes the hidden vectors of steps t .. t + lookahead.

    It delays its output by `lookahead` steps instead of reading the future (Amodei et al.
    2016, section 3.5).
    """

    def __init__(self, size: int, lookahead: int) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.weight = nn.Parameter(torch.zeros(lookahead + 1, size))
        nn.init.ones_(self.weight[0])

    def initial_state(self, batch_size: int) -> ModelState:
        return (self.weight.new_zeros(batch_size, self.lookahead, self.weight.shape[1]),)

    def forward(self, x: Tensor, state: ModelState) -> tuple[Tensor, ModelState]:
        steps = x.shape[1]
        x = torch.cat((state[0].to(x.dtype), x), dim=1)
        y = sum(w * x[:, i : i + steps] for i, w in enumerate(self.weight))
        assert isinstance(y, Tensor)
        return y, (x[:, x.shape[1] - self.lookahead :],)


class AcousticModel(nn.Module):
    """Shared weights; the state of a stream goes in and comes out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.front_end = FrontEnd(config)
        self.layers = nn.ModuleList(
            RecurrentLayer(config.cell, config.hidden_size, config.dropout)
            for _ in range(config.n_layers)
        )
        self.row_conv = (
            RowConvolution(config.hidden_size, config.lookahead) if config.lookahead else None
        )
        self.norm = nn.LayerNorm(config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.emissions * config.vocab_size)
        self.pieces = (
            nn.Linear(config.hidden_size, config.emissions * config.pieces)
            if config.pieces else None
        )

    def _stages(self) -> list[nn.Module]:
        """Every part that has state, in the order of data and of the state tuple."""
        row_conv = [self.row_conv] if self.row_conv is not None else []
        return [self.front_end, *self.layers, *row_conv]

    def initial_state(self, batch_size: int = 1) -> ModelState:
        """The state before a stream's first frame: zeros."""
        parts = (stage.initial_state(batch_size) for stage in self._stages())  # type: ignore[operator]
        return tuple(tensor for part in parts for tensor in part)

    def forward(
        self, features: Tensor, state: ModelState | None = None
    ) -> tuple[Tensor, ModelState]:
        """Map (batch, frames, n_mels) to log-probs (batch, frames // subsampling, vocab).

        `frames` must be a multiple of `config.step_frames`. The first `config.delay` output
        frames of a stream precede its start and mean nothing; feed `config.lookahead` more
        steps at its end to get the last ones.
        """
        hidden, state = self.encode(features, state)
        return self.classify(hidden[-1]), state

    def read_both(
        self, features: Tensor, state: ModelState | None = None
    ) -> tuple[Tensor, Tensor, ModelState]:
        """As `forward`, with log-probs (batch, frames // subsampling, pieces) of word pieces."""
        hidden, state = self.encode(features, state)
        return self.classify(hidden[-1]), self.classify_pieces(hidden[-1]), state

    def encode(
        self, features: Tensor, state: ModelState | None = None
    ) -> tuple[list[Tensor], ModelState]:
        """Hidden vectors (batch, steps, size) after each stage, and the new state."""
        if features.shape[1] % self.config.step_frames:
            raise ValueError(
                f"{features.shape[1]} frames are no multiple of {self.config.step_frames}"
            )
        old = list(state if state is not None else self.initial_state(len(features)))
        hidden: list[Tensor] = []
        new: list[Tensor] = []
        x = features
        for stage in self._stages():
            count = len(stage.initial_state(1))  # type: ignore[operator]
            x, part = stage(x, tuple(old[:count]))
            del old[:count]
            new += part
            hidden.append(x)
        return hidden, tuple(new)

    def classify(self, hidden: Tensor) -> Tensor:
        """Hidden vectors (batch, steps, size) to log-probs (batch, output frames, vocab)."""
        return split_emissions(self.output(self.norm(hidden)), self.config.emissions)

    def classify_pieces(self, hidden: Tensor) -> Tensor:
        """The same to log-probs (batch, output frames, pieces) of word pieces."""
        assert self.pieces is not None
        return split_emissions(self.pieces(self.norm(hidden)), self.config.emissions)


def split_emissions(scores: Tensor, emissions: int) -> Tensor:
    """Scores (batch, steps, emissions * vocab) to log-probs (batch, frames, vocab) in fp32."""
    batch, steps, width = scores.shape
    return scores.reshape(batch, steps * emissions, width // emissions).float().log_softmax(-1)


def stack_states(states: Sequence[ModelState]) -> ModelState:
    """One state for a batch from the states of its streams."""
    return tuple(torch.cat(parts) for parts in zip(*states, strict=True))


def split_state(state: ModelState) -> list[ModelState]:
    """The states of the streams of a batch; the inverse of `stack_states`."""
    return list(zip(*(torch.split(part, 1) for part in state), strict=True))
