"""From texts to a language model of a wanted size: count, smooth, mix, prune, quantise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.errors import ConfigError

from .corpus import choose_vocabulary, read_corpora, restrict
from .estimate import estimate
from .language_model import LanguageModel
from .mix import interpolate
from .ngrams import NGrams
from .prune import losses, prune_below, prune_to_bytes

STEPS_PER_PART = 1
STEPS_AT_END = 2


@dataclass(frozen=True)
class Part:
    """Texts that are counted together, and their share in the mixture."""

    weight: float
    texts: tuple[Path, ...]


@dataclass(frozen=True)
class BuildConfig:
    """What to build."""

    order: int = 3
    max_words: int | None = None
    """Size of the vocabulary, the three special words included."""
    min_counts: tuple[int, ...] = (1,)
    """Least occurrences of a word, a 2-gram, ...; the last stands for the higher orders."""
    prune: float | None = None
    """Least loss of an n-gram in nats a word (see `prune.losses`)."""
    max_bytes: int | None = None
    """Size of the file."""


def build(
    parts: Sequence[Part], config: BuildConfig, on_step: Callable[[str], object] = lambda _: None
) -> LanguageModel:
    """Estimate each part and mix them; `on_step` hears what has been done, `steps` times.

    Raises ConfigError, TextError, ManifestError or LanguageModelError.
    """
    total = sum(part.weight for part in parts)
    if not parts or any(part.weight <= 0 for part in parts) or abs(total - 1) > 1e-6:
        raise ConfigError("the weights of the parts must be above 0 and sum to 1")
    weights = [part.weight for part in parts]
    corpora = read_corpora([part.texts for part in parts], lambda: on_step("read"))
    vocabulary = choose_vocabulary(
        corpora, weights, max_words=config.max_words, min_count=config.min_counts[0]
    )
    models = []
    while corpora:
        corpus = restrict(corpora.pop(0), vocabulary)
        models.append(
            estimate(corpus, config.order, min_counts=config.min_counts[1:] or config.min_counts)
        )
        on_step("estimated")
    model = models[0] if len(models) == 1 else interpolate(models, weights)
    del models
    on_step("mixed")
    small = shrink(model, config)
    on_step("pruned")
    return small


def steps(parts: Sequence[Part]) -> int:
    """How often `build` calls `on_step`."""
    return sum(len(part.texts) + STEPS_PER_PART for part in parts) + STEPS_AT_END


def shrink(model: NGrams, config: BuildConfig) -> LanguageModel:
    """The model pruned as the settings say, and quantised. ConfigError if it cannot be so small."""
    if config.prune is not None:
        model = prune_below(model, config.prune)
    quantised = LanguageModel.from_ngrams(model)
    limit = config.max_bytes
    if limit is None or quantised.nbytes <= limit:
        return quantised
    loss = losses(model)
    smallest = LanguageModel.from_ngrams(prune_to_bytes(model, loss, 0)).nbytes
    if smallest > limit:
        raise ConfigError(
            f"{len(model.vocabulary)} words alone take {smallest / 1e6:.2f} MB, "
            f"more than {limit / 1e6:.2f} MB: use fewer words"
        )
    budget = limit - smallest
    while True:
        quantised = LanguageModel.from_ngrams(prune_to_bytes(model, loss, budget))
        excess = quantised.nbytes - limit
        if excess <= 0:
            return quantised
        budget -= excess + 64  # contexts with very many words take some more
