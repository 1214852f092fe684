"""The pictures of a study of cells: how fast each learns, and how far its gradients reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLOURS = {"rnn_tanh": "tab:orange", "rnn_relu": "tab:red", "gru": "tab:green", "lstm": "tab:blue"}
LINES = {"whole": "-", "unclipped": ":", "truncated": "--"}
SMALLEST = 1e-8
"""Below this a gradient is nothing on the pictures."""


def draw_learning(runs: Sequence[dict[str, Any]], picture: Path) -> None:
    """Errors over hours heard, and the norm of the gradient over steps."""
    from matplotlib.figure import Figure  # heavy, and only the pictures need it

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for run in runs:
        look = {"color": COLOURS[run["cell"]], "linestyle": LINES[run["variant"]]}
        label = f"{run['cell']}, {run['variant']}"
        hours = [one["hours"] for one in run["scores"]]
        left.plot(hours, [one["cer"] for one in run["scores"]], label=label, **look)
        left.plot(hours, [one["wer"] for one in run["scores"]], alpha=0.4, **look)
        norms = [(i, norm) for i, norm in enumerate(run["norms"]) if norm]
        if norms:
            right.plot(*zip(*norms, strict=True), linewidth=0.7, alpha=0.8, **look)
    left.set_xlabel("hours of audio heard")
    left.set_ylabel("CER, and WER in pale")
    left.set_ylim(bottom=0)
    left.legend()
    right.set_xlabel("step")
    right.set_ylabel("gradient norm before clipping")
    right.set_yscale("log")
    figure.savefig(picture, dpi=110)


def draw_gradients(runs: Sequence[dict[str, Any]], picture: Path) -> None:
    """A panel for each point of training: gradient over distance, truncated in pale."""
    from matplotlib.figure import Figure

    points = max(len(run["flows"]) for run in runs)
    figure = Figure(figsize=(4 * points, 4), layout="constrained")
    panels = figure.subplots(1, points, sharey=True, squeeze=False)[0]
    for point, axes in enumerate(panels):
        for run in (run for run in runs if point < len(run["flows"])):
            flow = run["flows"][point]
            look = {"color": COLOURS[run["cell"]], "linestyle": LINES[run["variant"]]}
            for name, alpha in (("whole", 1.0), ("truncated", 0.35)):
                shown = [(d, v) for d, v in enumerate(flow[name], 1) if v > SMALLEST]
                label = f"{run['cell']}, {run['variant']}" if name == "whole" else None
                if shown:
                    axes.plot(*zip(*shown, strict=True), alpha=alpha, label=label, **look)
        minutes = [run["flows"][point]["minutes"] for run in runs if point < len(run["flows"])]
        axes.set_title(f"after {max(minutes):.1f} minutes")
        axes.set_xlabel("steps into the past")
        axes.set_yscale("log")
    panels[0].set_ylabel("gradient at the states, over that 1 step before")
    panels[0].legend()
    figure.savefig(picture, dpi=110)
