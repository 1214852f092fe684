"""What a run shows: a progress bar, a log of numbers, and the training curve as a picture."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from tqdm import tqdm

logger = logging.getLogger(__name__)

LOG_FILE, CURVE_FILE = "log.jsonl", "curve.png"


class Progress:
    """Bar on a terminal, JSON lines in the output folder; only rank 0 writes."""

    def __init__(self, output: Path, steps: int, start: int, *, enabled: bool) -> None:
        self._path = output / LOG_FILE
        self._enabled = enabled
        self._bar = tqdm(
            total=steps, initial=start, desc="training", unit="step",
            disable=None if enabled else True, smoothing=0.05,
        )
        if enabled:
            output.mkdir(parents=True, exist_ok=True)
            drop_after(self._path, start)

    def step(self, *, loss: float, learning_rate: float, gradient_norm: float) -> None:
        """Show one training step; the bar itself adds speed and time left."""
        self._bar.set_postfix_str(
            f"loss {loss:.3f} lr {learning_rate:.1e} grad {gradient_norm:.2f}", refresh=False
        )
        self._bar.update()

    def log(self, **values: Any) -> None:
        """Append one line of numbers."""
        if self._enabled:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
            self._bar.write(" ".join(f"{k} {_short(v)}" for k, v in values.items()))

    def close(self) -> None:
        """End the bar and draw the curve."""
        self._bar.close()
        if self._enabled and self._path.exists():
            try:
                draw_curve(self._path, self._path.with_name(CURVE_FILE))
            except ModuleNotFoundError:
                logger.warning("no %s: matplotlib is missing", CURVE_FILE)


def drop_after(path: Path, step: int) -> None:
    """Remove lines behind `step`: a run that resumes there writes them again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def draw_curve(log: Path, picture: Path) -> None:
    """Training loss and development CER over hours of audio heard."""
    from matplotlib.figure import Figure  # heavy, and only the picture needs it

    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    losses = [(row["hours"], row["loss"]) for row in rows if "loss" in row]
    scores = [(row["hours"], row["dev_cer"]) for row in rows if "dev_cer" in row]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel("hours of audio heard")
    axes.set_ylabel("CTC loss per token")
    if losses:
        axes.plot(*zip(*losses, strict=True), color="tab:blue", label="training loss")
    right = axes.twinx()
    right.set_ylabel("character error rate")
    right.set_ylim(0, 1)
    if scores:
        right.plot(*zip(*scores, strict=True), "o-", color="tab:red", label="development CER")
    figure.legend(loc="upper right", bbox_to_anchor=(0.88, 0.97))
    figure.savefig(picture, dpi=120)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
