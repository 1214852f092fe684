"""From recordings on disk to batches of features on the model's device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.features import FeatureExtractor
from asr.manifest import Recording
from asr.model import ModelConfig
from asr.vocabulary import Vocabulary

from .augment import Augmenter, change_speed, mask_features, speed_length, uniform
from .config import AugmentConfig, DataConfig, TrainConfig
from .devices import send
from .objective import DenseTargets, Targets, needed_frames
from .rooms import room_responses
from .selection import encode_texts, noise_files, select
from .store import AudioStore
from .teacher import TeacherStates
from .voices import vary


@dataclass(frozen=True)
class Dataset:
    """Recordings with their samples and token ids, aligned by position."""

    recordings: list[Recording]
    store: AudioStore
    tokens: list[list[int]]
    repeats: list[int]
    """How often a pass takes each of them."""
    pieces: list[list[int]] | None = None
    """The ids of their word pieces, where the model writes some."""

    @property
    def order(self) -> NDArray[np.int64]:
        """The positions that one pass takes, those of repeated recordings several times."""
        return np.repeat(np.arange(len(self.tokens)), self.repeats)

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return float(self.store.starts[-1]) / self.store.sample_rate / 3600

    def to(self, device: torch.device) -> Dataset:
        """The same with its samples on another device: 31 hours take 3.6 GB of it."""
        return replace(self, store=self.store.to(device))


def load_dataset(
    sources: tuple[str, ...], data: DataConfig, vocabulary: Vocabulary, sample_rate: int,
    cache: Path, *, limit_hours: float | None = None, limit: int | None = None, seed: int = 0,
    pieces: Vocabulary | None = None,
) -> Dataset:
    """Read, filter and decode the recordings of `sources`; see `select`.

    Raises ManifestError for recordings that cannot be learnt from.
    """
    chosen = select(sources, data, limit_hours=limit_hours, limit=limit, seed=seed)
    recordings = [c.recording for c in chosen]
    tokens = encode_texts(recordings, vocabulary)
    store = AudioStore.open([r.audio for r in recordings], cache, sample_rate)
    repeats = [c.repeat for c in chosen]
    written = encode_texts(recordings, pieces) if pieces is not None else None
    return Dataset(recordings, store, tokens, repeats, written)


def load_augmenter(config: TrainConfig, cache: Path, device: torch.device) -> Augmenter:
    """The augmenter with its noise and rooms on `device`."""
    augment, rate = config.augment, config.features.sample_rate
    noise = torch.zeros(0, dtype=torch.int16)
    if augment.noise and config.data.noise:
        store = AudioStore.open([path for path, _ in noise_files(config.data)], cache, rate)
        noise = store.samples.to(device)
    rooms = torch.zeros(0, 1)
    if augment.rooms:
        rt60 = (augment.rt60_low, augment.rt60_high)
        rooms = room_responses(
            augment.room_count, rt60=rt60, sample_rate=rate, seed=config.run.seed, cache=cache
        ).to(device)
    return Augmenter(augment, noise, rooms, rate)


@dataclass(frozen=True)
class FeatureBatch:
    """What one training step takes."""

    features: Tensor
    """(batch, frames, n_mels), padded to whole steps and for the look-ahead."""
    frames: Tensor
    """Output frames of each row; on the CPU, where CTC wants to know them."""
    targets: Targets
    seconds: float
    """Audio in the batch, padding not counted; each view counts."""
    dropped: int
    """Rows left out because their tokens need more frames than they have."""
    dense: DenseTargets | None = None
    """The teacher's states, where there is a teacher."""
    pieces: Targets | None = None
    """The word pieces of each row, where the model writes some."""


@dataclass(frozen=True)
class _Placed:
    """Recordings in a batch of audio: (batch, samples), at one speed, with silence around."""

    audio: Tensor
    lengths: list[int]
    """Samples of each row, silence included."""
    leads: list[int]
    """Samples before the recording."""
    speed: float

    def repeated(self, times: int) -> _Placed:
        """The same rows so many times over; the audio is not copied."""
        return replace(self, lengths=self.lengths * times, leads=self.leads * times)


class BatchMaker:
    """Turns row numbers of a dataset into features, augmented or plain."""

    def __init__(
        self, dataset: Dataset, extractor: FeatureExtractor, model: ModelConfig,
        augmenter: Augmenter | None = None, teacher: TeacherStates | None = None,
        teacher_delay: float = 0.0, views: int = 1,
    ) -> None:
        """`teacher_delay` in seconds, as `LossConfig` has it.

        With `views` a batch holds its rows so many times over: the same audio in the same noise,
        each time with another colouring and other masks.
        """
        self.dataset, self.extractor, self.model = dataset, extractor, model
        self.augmenter, self.views = augmenter, views
        self.teacher, self.teacher_delay = teacher, teacher_delay

    def __call__(
        self,
        rows: list[int],
        generator: torch.Generator,
        *,
        whole: bool = False,
        keep_all: bool = False,
    ) -> FeatureBatch:
        """A batch; with `whole` the padding counts as audio, as live silence would.

        Rows that CTC cannot align are dropped, unless `keep_all` or `whole` says otherwise.
        """
        placed = self._assemble(rows, generator)
        audio = self._augmented(placed, generator)
        silent = self.augmenter.silence(audio, generator) if self.augmenter else []
        if self.views > 1:
            silent = [n + view * len(rows) for view in range(self.views) for n in silent]
            rows, placed = rows * self.views, placed.repeated(self.views)
        return self._features(rows, placed, audio, generator, silent, whole, keep_all or whole)

    def samples(self, rows: list[int], generator: torch.Generator) -> Tensor:
        """The augmented audio (batch, samples) alone."""
        return self._augmented(self._assemble(rows, generator), generator)

    def _augmented(self, placed: _Placed, generator: torch.Generator) -> Tensor:
        if self.augmenter is None:
            return placed.audio
        lengths = send(torch.tensor(placed.lengths), placed.audio.device)
        return self.augmenter(placed.audio, lengths, generator)

    def _assemble(self, rows: list[int], generator: torch.Generator) -> _Placed:
        store, config = self.dataset.store, self._augment
        rate = store.sample_rate
        speed = self.augmenter.draw_speed(generator) if self.augmenter else 1.0
        padded = change_speed(store.padded(rows), speed)
        tail = self.extractor.config.tail_samples
        lead = (uniform(generator, len(rows), 0, config.lead) * rate).int().tolist()
        trail = (uniform(generator, len(rows), 0, config.trail) * rate).int().tolist()
        spans = [speed_length(int(n), speed) for n in store.lengths[rows]]
        lengths = [a + n + b + tail for a, n, b in zip(lead, spans, trail, strict=True)]
        return _Placed(shift(padded, lead, spans, max(lengths)), lengths, lead, speed)

    @property
    def _augment(self) -> AugmentConfig:
        return self.augmenter.config if self.augmenter else AugmentConfig(lead=0.0, trail=0.0)

    def _features(
        self, rows: list[int], placed: _Placed, audio: Tensor, generator: torch.Generator,
        silent: list[int], whole: bool, keep_all: bool,
    ) -> FeatureBatch:
        c, lengths = self.extractor.config, placed.lengths
        with torch.no_grad():
            features = self.extractor(audio).repeat(self.views, 1, 1)
            if self.augmenter is not None:
                features = vary(features, self.extractor, self._augment, generator)
        counts = [
            features.shape[1] if whole else max(0, 1 + (n - c.n_fft) // c.hop_length)
            for n in lengths
        ]
        step = self.model.step_frames
        due = [-(-count // step) * self.model.emissions for count in counts]
        tokens = [[] if n in silent else self.dataset.tokens[i] for n, i in enumerate(rows)]
        fits = [needed_frames(t) <= n for t, n in zip(tokens, due, strict=True)]
        device = features.device
        if not whole:
            ends = send(torch.tensor(counts)[:, None], device)
            behind = torch.arange(features.shape[1], device=device) >= ends
            # what a stream's last chunk is padded with
            features = features.masked_fill(behind[..., None], 0.0)
        if self.augmenter is not None:
            mask_features(features, counts, self._augment, generator, c.frame_seconds)
        keep = [i for i, fit in enumerate(fits) if fit or keep_all]
        if len(keep) < len(rows):
            features = features[send(torch.tensor(keep, dtype=torch.long), device)]
        missing = -features.shape[1] % step + self.model.lookahead * step
        features = torch.nn.functional.pad(features, (0, 0, 0, missing))
        targets = as_targets([tokens[i] for i in keep], device)
        pieces = None
        if self.dataset.pieces is not None:
            pieces = as_targets(
                [[] if i in silent else self.dataset.pieces[rows[i]] for i in keep], device
            )
        frames = torch.tensor([due[i] for i in keep], dtype=torch.long)
        seconds = sum(lengths) / c.sample_rate
        dense = None
        if self.teacher is not None:
            dense = self._dense(rows, placed, keep, max(due))
            # whoever hears noise alone has nothing to learn from what the teacher heard
            without = send(torch.tensor([[i in silent] for i in keep]), device)
            dense.exists.masked_fill_(without, value=False)
        return FeatureBatch(features, frames, targets, seconds, fits.count(False), dense, pieces)

    def _dense(
        self, rows: list[int], placed: _Placed, keep: list[int], frames: int
    ) -> DenseTargets:
        """The teacher's states for each output frame of the rows that are kept."""
        assert self.teacher is not None
        c = self.extractor.config
        seconds = np.arange(frames) * self.model.subsampling * c.frame_seconds
        leads = np.array([placed.leads[i] for i in keep])[:, None] / c.sample_rate
        times = (seconds - self.teacher_delay - leads) * placed.speed
        return DenseTargets(*self.teacher.at([rows[i] for i in keep], times))


def as_targets(tokens: list[list[int]], device: torch.device) -> Targets:
    """The ids of each row as CTC takes them."""
    return Targets(
        send(torch.tensor([t for row in tokens for t in row], dtype=torch.long), device),
        torch.tensor([len(row) for row in tokens], dtype=torch.long),
    )


def shift(padded: Tensor, leads: list[int], spans: list[int], size: int) -> Tensor:
    """(rows, size) with `spans` samples of each row behind `leads` zeros, and zeros after."""
    if not padded.shape[1]:
        return padded.new_zeros(len(padded), size)
    bounds = send(torch.tensor([leads, spans])[..., None], padded.device)
    place = torch.arange(size, device=padded.device) - bounds[0]
    outside = (place < 0) | (place >= bounds[1])
    index = place.clamp_(0, padded.shape[1] - 1)
    return padded.gather(1, index).masked_fill_(outside, 0.0)
