"""`python -m asr.training.grow CHECKPOINT LAYERS TARGET`: a deeper network out of a trained one.

A residual layer that says almost nothing changes almost nothing: such layers are put between
those of a trained network (behind the second, the third, ...), which so keeps what it knows
and gains room for more (after progressive stacking, Gong et al. 2019). The optimiser of the
run that goes on from TARGET begins afresh.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr import schema
from asr.errors import AsrError, ConfigError
from asr.model import AcousticModel, ModelConfig

from . import checkpoint

CLOSED = -4.0
"""Bias of a new layer's output gate: it lets a fiftieth through."""
PREFIX = "model.layers."


def main() -> int:
    """Write the checkpoint TARGET."""
    parser = argparse.ArgumentParser(prog="python -m asr.training.grow", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("layers", type=int, help="layers that it has afterwards")
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    try:
        checkpoint.save(args.target, grow(checkpoint.load(args.checkpoint), args.layers))
    except AsrError as error:
        sys.stderr.write(f"grow: {error}\n")
        return 1
    return 0


def grow(content: dict[str, Any], layers: int) -> dict[str, Any]:
    """The content of a checkpoint with so many layers, at the start of a run of its own.

    Raises ConfigError for a network of other cells than LSTM, and for a number of layers that
    cannot be put between those it has.
    """
    shape = content["config"]["model"]
    places = old_layers(shape["n_layers"], layers)
    if shape["cell"] != "lstm":
        raise ConfigError(f"only an LSTM can be grown, the checkpoint has cells {shape['cell']}")
    grown = shape | {"n_layers": layers}
    config = schema.build(ModelConfig, grown)
    torch.manual_seed(content["config"]["run"]["seed"])
    begun = AcousticModel(config).state_dict()
    for name, values in begun.items():
        if name.endswith("bias_ih_l0"):
            values[-config.hidden_size :] = CLOSED  # gates: input, forget, cell, output
    weights = {
        kind: _spread(content[kind], {f"model.{k}": v for k, v in begun.items()}, places)
        for kind in ("objective", "average")
    }
    settings = content["config"] | {"model": grown}
    start = {"position": [0, 0, 0], "best_cer": float("inf"), "state": None, "optimizer": None}
    return content | weights | start | {"config": settings}


def old_layers(before: int, after: int) -> list[int]:
    """Places of the layers that are there, among those that there shall be."""
    new = after - before
    if not 0 < new < before:
        least, most = before + 1, 2 * before - 1
        raise ConfigError(f"{before} layers grow to {least} at least and {most} at most")
    first = before - new  # it and all behind it get a new one behind them
    return [i + max(0, i - first) for i in range(before)]


def _spread(
    values: dict[str, Tensor], begun: dict[str, Tensor], places: list[int]
) -> dict[str, Tensor]:
    """The weights, with layer i at place places[i]; what nobody takes is as `begun`."""
    moved = {}
    for name, value in values.items():
        if name.startswith(PREFIX):
            number, _, rest = name.removeprefix(PREFIX).partition(".")
            name = f"{PREFIX}{places[int(number)]}.{rest}"
        moved[name] = value
    return begun | moved


if __name__ == "__main__":
    sys.exit(main())
