"""The training loop.

Every random choice of step n is drawn from generators seeded with (seed, n, rank), and the
batches of a pass are a function of (seed, pass): a run that resumes at a checkpoint does
exactly what the uninterrupted run would have done.
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from asr import schema
from asr.features import FeatureExtractor
from asr.model import AcousticModel, ModelState
from asr.vocabulary import Vocabulary

from . import checkpoint
from .batches import Batch, bucketed_batches, share, stream_batches
from .config import TrainConfig, expand
from .dataset import BatchMaker, FeatureBatch, load_augmenter, load_dataset
from .devices import Arriving, Placement, place
from .objective import Objective
from .optimizer import MovingAverage, learning_rate, make_optimizer
from .pieces import read_pieces
from .progress import Progress
from .scoring import score
from .start import resume, set_statistics, warm_start
from .teacher import TeacherStates

logger = logging.getLogger(__name__)

LAST, BEST = "last.pt", "best.pt"
LOG_STEPS = 50
"""Between two lines of the log, whose loss is the mean of theirs."""


class Trainer:
    """A run: its data, model, optimiser and position. `run()` trains to the end."""

    def __init__(self, config: TrainConfig, vocabulary: Vocabulary | None = None) -> None:
        self.vocabulary = vocabulary or Vocabulary.letters()
        self.pieces = read_pieces(expand(config.data.pieces)) if config.data.pieces else None
        config = replace(config, model=replace(config.model, pieces=len(self.pieces or ())))
        self.config = config
        self.place: Placement = place(config.run.device)
        torch.manual_seed(config.run.seed)
        self.output = expand(config.run.output)
        cache = expand(config.data.cache) if config.data.cache else self.output / "cache"
        device = self.place.device
        self.extractor = FeatureExtractor(config.features).to(device)
        self._load_data(cache)
        teacher_size = self.maker.teacher.size if self.maker.teacher is not None else 0
        model = AcousticModel(config.model)
        self.objective = Objective(model, config.loss, teacher_size).to(device)
        self.optimizer = make_optimizer(self.objective, config.optimizer)
        self.average = MovingAverage(self.objective, config.optimizer.ema)
        self.step, self.passes, self.at = 0, 0, 0
        self.hours = 0.0
        self.dropped = 0
        self.best_cer = float("inf")
        self.state: ModelState | None = None
        """Of the streams, where a batch continues the one before."""
        self._batches: list[Batch] = []
        if not resume(self, self.output / LAST):
            if config.run.start_from:
                warm_start(self, expand(config.run.start_from))
            else:
                set_statistics(self)
            self.average = MovingAverage(self.objective, config.optimizer.ema)
        self._plan_pass()
        self._wrapped: nn.Module = self.objective
        if self.place.world_size > 1:
            self._wrapped = nn.parallel.DistributedDataParallel(self.objective)

    def _load_data(self, cache: Path) -> None:
        data, rate = self.config.data, self.config.features.sample_rate
        # one process decodes while the others wait for its files
        if not self.place.is_first:
            distributed.barrier()
        self.train_set = load_dataset(
            data.train, data, self.vocabulary, rate, cache,
            limit_hours=data.limit_hours, seed=self.config.run.seed, pieces=self.pieces,
        )
        self.dev_set = (
            load_dataset(data.dev, data, self.vocabulary, rate, cache, limit=data.dev_utterances)
            if data.dev
            else None
        )
        augmenter = load_augmenter(self.config, cache, self.place.device)
        if self.place.is_first and self.place.world_size > 1:
            distributed.barrier()
        device = self.place.device
        self.train_set = self.train_set.to(device)
        self.dev_set = self.dev_set and self.dev_set.to(device)
        teacher = (
            TeacherStates.open(
                expand(data.teacher), [r.audio for r in self.train_set.recordings]
            ).to(device)
            if data.teacher
            else None
        )
        self.maker = BatchMaker(
            self.train_set, self.extractor, self.config.model, augmenter, teacher,
            self.config.loss.teacher_delay, views=self._views,
        )

    @property
    def _views(self) -> int:
        """How often a batch holds each recording."""
        return 2 if self.config.loss.consistency_weight else 1

    def run(self) -> None:
        """Train until the steps or minutes are used up; checkpoints on the way and at the end.

        KeyboardInterrupt ends it in the same orderly way.
        """
        run = self.config.run
        began = saved = time.monotonic()
        progress = Progress(self.output, run.steps, self.step, enabled=self.place.is_first)
        figures: list[Arriving] = []
        try:
            while self.step < run.steps:
                figures.append(self.update())
                loss, norm = figures[-2:][0].read()  # the step before: the next is under way
                rate = learning_rate(self.config.optimizer, self.step - 1, run.steps)
                progress.step(loss=loss, learning_rate=rate, gradient_norm=norm)
                if self.step % LOG_STEPS == 0:
                    mean = sum(each.read()[0] for each in figures) / len(figures)
                    progress.log(
                        step=self.step, hours=self.hours, loss=mean,
                        learning_rate=rate, gradient_norm=norm,
                        minutes=(time.monotonic() - began) / 60,
                    )
                    figures.clear()
                due = run.evaluate_steps and self.step % run.evaluate_steps == 0
                if due or self.step == run.steps:
                    self._evaluate(progress)
                now = time.monotonic()
                if now - saved > run.checkpoint_minutes * 60:
                    self.save(LAST)
                    saved = now
                if run.minutes is not None and self.place.any(now - began > run.minutes * 60):
                    break
        except KeyboardInterrupt:
            logger.warning("interrupted at step %d; run again to resume", self.step)
        finally:
            self.save(LAST)
            progress.close()

    def train_step(self) -> tuple[float, float]:
        """One update; returns the loss per token and the gradient norm before clipping."""
        loss, norm = self.update().read()
        return loss, norm

    def update(self) -> Arriving:
        """The same, with the loss and the norm still on their way.

        Nothing here waits for the device but what torch's CTC loss copies to it.
        """
        rank, seed = self.place.rank, self.config.run.seed
        mixed = (seed * 1_000_003 + self.step) * 1_009 + rank
        torch.manual_seed(mixed)  # dropout
        generator = torch.Generator().manual_seed(mixed + 1)
        batch = self._next_batch(generator)
        rate = learning_rate(self.config.optimizer, self.step, self.config.run.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        self._wrapped.train()
        with self._autocast():
            loss, state = self._wrapped(
                batch.features, batch.frames, batch.targets, self.state, batch.dense,
                batch.pieces,
            )
        loss.backward()
        clip = self.config.optimizer.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.objective.parameters(), clip)
        self._forget_unless(torch.isfinite(norm))
        self.optimizer.step()
        self.state = state if self.config.loss.carry_state else None
        self.step += 1
        self.at += 1
        self.hours += batch.seconds * self.place.world_size / 3600
        self.dropped += batch.dropped
        self.average.update(self.objective, self.step)
        return Arriving(torch.stack((loss.detach(), norm)))

    def _forget_unless(self, finite: Tensor) -> None:
        """One bad batch must not ruin the weights: its gradients become zeros."""
        for parameter in self.objective.parameters():
            if parameter.grad is not None:
                parameter.grad.masked_fill_(~finite, 0.0)

    def _next_batch(self, generator: torch.Generator) -> FeatureBatch:
        if self.at >= len(self._batches):
            self.passes += 1
            self.at = 0
            self.state = None
            self._plan_pass()
        carry = self.config.loss.carry_state
        return self.maker(self._batches[self.at], generator, whole=carry)

    def _plan_pass(self) -> None:
        data, run, rank = self.config.data, self.config.run, self.place
        order = self.train_set.order
        if self.config.loss.carry_state:
            speakers = [self.train_set.recordings[i].speaker for i in order]
            batches = stream_batches(
                speakers, streams=min(data.batch_rows, len(speakers)), seed=run.seed,
                number=self.passes,
            )
        else:
            batches = bucketed_batches(
                self.train_set.store.lengths[order],
                budget=round(data.batch_seconds * self.config.features.sample_rate / self._views),
                rows=max(1, data.batch_rows // self._views), seed=run.seed, number=self.passes,
                ascending=self.passes < data.sorted_passes,
            )
        batches = [[int(order[i]) for i in batch] for batch in batches]
        self._batches = share(batches, rank.rank, rank.world_size)

    def _autocast(self) -> Any:
        if self.config.run.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.place.device.type, dtype=torch.bfloat16)

    def _evaluate(self, progress: Progress) -> None:
        if self.dev_set is None or not self.place.is_first:
            return
        found = score(
            self.averaged_model(), self.extractor, self.dev_set, self.vocabulary, self.pieces
        )
        progress.log(
            step=self.step, hours=self.hours, dev_cer=found.cer, dev_wer=found.wer,
            dev_loss=found.loss, dropped=self.dropped,
        )
        if found.cer < self.best_cer:
            self.best_cer = found.cer
            self.save(BEST)

    def averaged_model(self) -> AcousticModel:
        """A copy of the model with the averaged weights, for evaluation and export."""
        model = AcousticModel(self.config.model).to(self.place.device)
        source = self.average.values if self.config.optimizer.ema else self.objective.state_dict()
        model.load_state_dict(
            {k.removeprefix("model."): v for k, v in source.items() if k.startswith("model.")}
        )
        return model.eval()

    def save(self, name: str) -> None:
        """Write a checkpoint into the output folder; only the first process does."""
        if not self.place.is_first:
            return
        checkpoint.save(
            self.output / name,
            {
                "config": schema.as_table(self.config),
                "vocabulary": list(self.vocabulary.tokens),
                "pieces": list(self.pieces.tokens) if self.pieces else [],
                "objective": self.objective.state_dict(),
                "average": self.average.values,
                "optimizer": self.optimizer.state_dict(),
                "mean": self.extractor.mean,
                "std": self.extractor.std,
                "state": self.state,
                "position": [self.step, self.passes, self.at],
                "hours": self.hours,
                "dropped": self.dropped,
                "best_cer": self.best_cer,
            },
        )
