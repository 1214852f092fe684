"""A recurrent layer of any kind of cell, with explicit state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""What a layer remembers; every tensor has the batch dimension first."""

FEW_STEPS = 4
"""Of a chunk of live audio at most."""


class RecurrentLayer(nn.Module):
    """x + dropout(cell(norm(x))): one residual recurrent layer of any kind.

    The plain cells compute h_t = f(W_h h_{t-1} + W_x x_t + b) with f = tanh or relu.
    """

    def __init__(self, cell: str, size: int, dropout: float) -> None:
        """`cell` is one of `asr.model.Cell`."""
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.cell: nn.RNNBase
        if cell == "lstm":
            self.cell = nn.LSTM(size, size, batch_first=True)
        elif cell == "gru":
            self.cell = nn.GRU(size, size, batch_first=True)
        else:
            kind = cell.removeprefix("rnn_")
            self.cell = nn.RNN(size, size, nonlinearity=kind, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.n_states = 2 if cell == "lstm" else 1
        self._initialise(cell)

    def _initialise(self, cell: str) -> None:
        size = self.cell.hidden_size
        weights = dict(self.cell.named_parameters())
        recurrent, bias = weights["weight_hh_l0"], weights["bias_ih_l0"]
        with torch.no_grad():
            for gate in torch.split(recurrent, size):
                nn.init.orthogonal_(gate)
            bias.zero_()
            weights["bias_hh_l0"].zero_()
            if cell == "lstm":  # remember by default (Jozefowicz et al. 2015)
                bias[size : 2 * size] = 1.0
            if cell == "rnn_relu":  # near the identity (Le et al. 2015), but contracting
                recurrent.copy_(0.5 * torch.eye(size))

    def initial_state(self, batch_size: int) -> State:
        zeros = self.norm.weight.new_zeros(batch_size, self.cell.hidden_size)
        return (zeros,) * self.n_states

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Map (batch, steps, size) to the same shape."""
        y = self.norm(x)
        if y.is_cuda and torch.is_autocast_enabled("cuda"):
            # autocast runs cuDNN's cells in fp16 even where bf16 is asked for: gradients vanish
            with torch.autocast("cuda", enabled=False):
                return self._recur(x, y.float(), state)
        return self._recur(x, y, state)

    def _recur(self, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        if self._is_few(y):
            y, new = self._step_by_step(y, state)
            return x + self.dropout(y), new
        # torch keeps recurrent states as (layers, batch, size)
        h = state[0][None].to(y.dtype)
        if isinstance(self.cell, nn.LSTM):
            y, (h, c) = self.cell(y, (h, state[1][None].to(y.dtype)))
            new = (h[0], c[0])
        else:
            y, h = self.cell(y, h)
            new = (h[0],)
        return x + self.dropout(y), new

    def _is_few(self, y: Tensor) -> bool:
        """Whether the cell is to be called step by step.

        oneDNN, which `nn.LSTM` calls on a CPU, packs the weights anew in every call: for the
        chunks of a live stream that takes several times as long as all the rest.
        """
        live = y.shape[1] <= FEW_STEPS and not torch.is_grad_enabled()
        return live and isinstance(self.cell, nn.LSTM) and y.device.type == "cpu"

    def _step_by_step(self, y: Tensor, state: State) -> tuple[Tensor, State]:
        h, c = state
        steps = []
        for step in y.unbind(1):
            h, c = torch.lstm_cell(step, (h, c), *self.cell.all_weights[0])
            steps.append(h)
        return torch.stack(steps, dim=1), (h, c)
