"""`python -m asr.training.study CONFIG.toml FOLDER`: recurrent cells trained alike and compared.

Each cell gets as many layers, nearly as many parameters, the same recordings, seed and minutes,
at a constant learning rate; the rest is as CONFIG.toml says. FOLDER gets `study.json`, two
pictures, and a file for each run: one that is there already is not trained again.

Variants: "whole" propagates back through whole utterances and clips gradients; "unclipped" does
not clip; "truncated" cuts back-propagation every --truncate steps.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import torch

from asr.errors import AsrError
from asr.model import AcousticModel, Cell, ModelConfig

from . import scoring
from .config import TrainConfig, read_config
from .dataset import BatchMaker, FeatureBatch
from .gradient_flow import Flow, measure
from .study_pictures import draw_gradients, draw_learning
from .trainer import Trainer

VARIANTS = ("whole", "unclipped", "truncated")
EVALUATIONS = 8
"""Times that a run's errors are measured at, evenly over its minutes."""
POINTS = (0.0, 0.5, 1.0)
"""Shares of the minutes at which gradients are followed into the past."""
DISTANCE = 60
"""Steps that they are followed: 4.8 s where a step is 80 ms."""
FLOW_ROWS, FLOW_SECONDS = 6, 6.0
"""Development recordings in which they are, and what their length should be near."""
CHUNKS = 200
"""Timed for the cost of a stream."""
SIZE_STEP = 8


@dataclass
class Run:
    """What one run found; rates are fractions."""

    cell: str
    variant: str
    parameters: int
    hidden_size: int
    clip_norm: float
    truncate_steps: int
    """Of the run and, where it cuts nothing, of the truncated gradients measured beside it."""
    steps: int = 0
    hours: float = 0.0
    seconds: float = 0.0
    """Of training alone."""
    cpu_seconds: float = 0.0
    audio_per_second: float = 0.0
    """Seconds of audio that a second of training takes in."""
    chunk_ms: float = 0.0
    """CPU time of the network for a chunk of 0.16 s of one stream, on one thread."""
    clipped: float = 0.0
    """Share of the steps whose gradient was longer than `clip_norm`, even if it was let be."""
    skipped: int = 0
    """Steps whose gradient was not finite."""
    norms: list[float | None] = field(default_factory=list)
    """Of the gradient at each step, before clipping."""
    scores: list[dict[str, float]] = field(default_factory=list)
    """Errors on the development recordings over steps, hours heard and minutes."""
    flows: list[dict[str, Any]] = field(default_factory=list)
    """`Flow` over steps and minutes."""

    @property
    def name(self) -> str:
        return f"{self.cell}-{self.variant}"


def main() -> int:
    """Train what is missing, then write figures and pictures."""
    parser = argparse.ArgumentParser(prog="python -m asr.training.study", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    cells = get_args(Cell)
    add = parser.add_argument
    add("config", type=Path, metavar="CONFIG.toml")
    add("folder", type=Path, metavar="FOLDER")
    add("--minutes", type=float, default=20.0, help="of training for each run (20)")
    add("--hours", type=float, default=4.0, help="of recordings to learn from (4)")
    add("--parameters", type=int, default=2_000_000, help="of each model, nearly (2000000)")
    add("--cells", nargs="+", choices=cells, default=cells, metavar="CELL", help=", ".join(cells))
    add("--variants", nargs="+", choices=VARIANTS, default=["whole"], metavar="VARIANT",
        help=f"{', '.join(VARIANTS)} (whole)")
    add("--truncate", type=int, default=12, help="steps between cuts of the gradient (12)")
    add("--set", dest="overrides", action="append", default=[], metavar="SECTION.KEY=VALUE")
    args = parser.parse_args()
    if not args.minutes > 0 or not args.hours > 0 or args.truncate < 1 or args.parameters < 1:
        parser.error("--minutes, --hours, --truncate and --parameters must be above 0")
    runs = []
    try:
        base = read_config(args.config, args.overrides)
        for variant in args.variants:
            for cell in args.cells:
                config = settings(base, cell, variant, args.folder, args.hours,
                                  args.parameters, args.truncate)
                runs.append(open_or_train(config, variant, args.minutes, args.truncate))
    except AsrError as error:
        parser.error(str(error))
    document = {"minutes": args.minutes, "hours": args.hours, "runs": [asdict(r) for r in runs]}
    (args.folder / "study.json").write_text(json.dumps(document) + "\n", encoding="utf-8")
    draw_learning(document["runs"], args.folder / "learning.png")
    draw_gradients(document["runs"], args.folder / "gradients.png")
    sys.stdout.write(table(runs) + "\n")
    return 0


def settings(
    base: TrainConfig, cell: Cell, variant: str, folder: Path, hours: float, parameters: int,
    truncate: int,
) -> TrainConfig:
    """The base as one run of the study takes it."""
    clip = 0.0 if variant == "unclipped" else base.optimizer.clip_norm
    return replace(
        base,
        model=sized(replace(base.model, cell=cell), parameters),
        data=replace(base.data, limit_hours=hours, teacher="", pieces="",
                     cache=base.data.cache or str(folder / "cache")),
        optimizer=replace(base.optimizer, schedule="constant", clip_norm=clip),
        loss=replace(base.loss, carry_state=False,
                     truncate_steps=truncate if variant == "truncated" else 0),
        run=replace(base.run, output=str(folder / f"{cell}-{variant}"), start_from=""),
    )


def sized(config: ModelConfig, parameters: int) -> ModelConfig:
    """The same with the hidden size whose number of parameters is nearest to that many."""
    def count(size: int) -> int:
        # beside the front end everything grows with the size, or with its square
        model = AcousticModel(replace(config, hidden_size=size))
        return sum(p.numel() for p in model.parameters())

    low, high = SIZE_STEP, 2 * SIZE_STEP
    while count(high) < parameters:
        low, high = high, 2 * high
    while high - low > SIZE_STEP:
        middle = (low + high) // 2 // SIZE_STEP * SIZE_STEP
        low, high = (middle, high) if count(middle) < parameters else (low, middle)
    nearest = min((low, high), key=lambda size: abs(count(size) - parameters))
    return replace(config, hidden_size=nearest)


def open_or_train(config: TrainConfig, variant: str, minutes: float, truncate: int) -> Run:
    """The run of an earlier call, or a new one."""
    path = Path(config.run.output) / "run.json"
    if path.exists():
        return Run(**json.loads(path.read_text(encoding="utf-8")))
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    trainer = Trainer(config)
    model = trainer.objective.model
    run = Run(
        config.model.cell, variant, sum(p.numel() for p in model.parameters()),
        config.model.hidden_size, config.optimizer.clip_norm,
        config.loss.truncate_steps or truncate,
    )
    train(trainer, run, minutes)
    run.chunk_ms = chunk_milliseconds(trainer.averaged_model().cpu())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(run), allow_nan=False) + "\n", encoding="utf-8")
    return run


def train(trainer: Trainer, run: Run, minutes: float) -> None:
    """Fill in `run`: so many minutes of steps, what is measured between them not counted."""
    limit = minutes * 60
    scores_due = deque(limit * (i + 1) / EVALUATIONS for i in range(EVALUATIONS))
    flows_due = deque(limit * share for share in POINTS)
    batch = flow_batch(trainer)
    bound = trainer.config.optimizer.clip_norm or 1.0
    while True:
        run.steps, run.hours = trainer.step, trainer.hours
        now = {"step": run.steps, "hours": run.hours, "minutes": run.seconds / 60}
        if passed(flows_due, run.seconds):
            flow = measure(trainer.objective.model, batch, distance=DISTANCE,
                           truncate=run.truncate_steps, clip_norm=bound)
            run.flows.append(now | finite(flow))
        if passed(scores_due, run.seconds):
            run.scores.append(now | score(trainer))
        if run.seconds >= limit:
            break
        began, cpu = time.monotonic(), time.process_time()
        _, norm = trainer.train_step()
        run.seconds += time.monotonic() - began
        run.cpu_seconds += time.process_time() - cpu
        run.norms.append(norm if math.isfinite(norm) else None)
    run.audio_per_second = 3600 * run.hours / run.seconds
    found = [norm for norm in run.norms if norm is not None]
    run.skipped = len(run.norms) - len(found)
    run.clipped = (sum(norm > bound for norm in found) + run.skipped) / len(run.norms)


def passed(due: deque[float], now: float) -> bool:
    """Whether there are times that have come; they are taken out."""
    count = len(due)
    while due and now >= due[0]:
        due.popleft()
    return len(due) < count


def finite(flow: Flow) -> dict[str, Any]:
    """As JSON: a number that overflowed is null."""
    return {
        name: value if isinstance(value, list) or math.isfinite(value) else None
        for name, value in asdict(flow).items()
    }


def flow_batch(trainer: Trainer) -> FeatureBatch:
    """A few development recordings of about the same length, without augmentation."""
    dataset = trainer.dev_set or trainer.train_set
    wanted = FLOW_SECONDS * dataset.store.sample_rate
    order = sorted(range(len(dataset.tokens)), key=lambda i: abs(dataset.store.lengths[i] - wanted))
    maker = BatchMaker(dataset, trainer.extractor, trainer.config.model)
    return maker(order[:FLOW_ROWS], torch.Generator().manual_seed(0), keep_all=True)


def score(trainer: Trainer) -> dict[str, float]:
    """Greedy error rates of the averaged weights."""
    dataset = trainer.dev_set or trainer.train_set
    found = scoring.score(
        trainer.averaged_model(), trainer.extractor, dataset, trainer.vocabulary
    )
    return {"wer": found.wer, "cer": found.cer}


@torch.inference_mode()
def chunk_milliseconds(model: AcousticModel) -> float:
    """Median CPU time of a chunk of two recurrent steps at batch 1, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    features = torch.randn(1, 2 * model.config.step_frames, model.config.n_mels)
    state, costs = None, []
    for _ in range(CHUNKS):
        began = time.process_time()
        _, state = model(features, state)
        costs.append(time.process_time() - began)
    torch.set_num_threads(threads)
    return 1000 * statistics.median(costs)


def table(runs: list[Run]) -> str:
    """The figures of the ends of the runs, in Markdown."""
    lines = [
        "| run | parameters | steps | audio s a s | ms a chunk | CER | WER | clipped |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in runs:
        last = r.scores[-1]
        lines.append(
            f"| {r.name} | {r.parameters / 1e6:.2f} M | {r.steps} | {r.audio_per_second:.0f} | "
            f"{r.chunk_ms:.2f} | {last['cer']:.1%} | {last['wer']:.1%} | {r.clipped:.0%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
