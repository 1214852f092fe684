"""Fit what a search needs to know about its model: language-model weights, confidences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr.bundle import Bundle
from asr.decoding.base import Decoder, TimeShift, TimingConfig, words_of
from asr.decoding.beam import BeamDecoder
from asr.decoding.commands import CommandConfig, GrammarScorer
from asr.decoding.confidence import ConfidenceConfig, log_odds, word_shares
from asr.decoding.decoders import SearchConfig
from asr.decoding.lexicon import WordConfig, WordScorer
from asr.metrics import ErrorCounts, correct_words, matching_words, word_errors
from asr.streaming import READINGS
from asr.vocabulary import Vocabulary

from .hearing import Heard, search

if TYPE_CHECKING:
    from asr.decoding.grammar import Grammar

GRID: dict[str, tuple[float, ...]] = {
    "lm_weight": (0.3, 0.45, 0.6, 0.8, 1.0, 1.3),
    "word_bonus": (-1.0, 0.0, 0.7, 1.4, 2.2, 3.0, 4.0, 5.0),
    "unknown_penalty": (0.0, 1.5, 3.0, 5.0, 8.0),
    "spelling_penalty": (0.3, 0.7, 1.2, 2.0, 3.0, 4.5, 6.0),
}
"""What is tried of each setting of `WordConfig`."""
BONUSES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
"""What is tried of `CommandConfig.bonus`."""
WORD_COST = 5.0
"""About what a language model takes off a likely word, in nats."""
ROUNDS = 2
NEWTON_STEPS = 30
RIDGE = 1e-3


def word_error_rate(
    bundle: Bundle, scorer: WordScorer, config: SearchConfig, groups: Sequence[Sequence[Heard]]
) -> float:
    """The mean of the groups' word error rates, so that a small set counts like a large one."""
    pieces = bundle.pieces is not None
    decoder = BeamDecoder(config.beam, [scorer.with_config(config.words)], pieces=pieces)
    rates = []
    for group in groups:
        errors = ErrorCounts()
        for heard in group:
            best = search(decoder, heard).hypothesis(final=True)
            errors += word_errors(heard.text, bundle.text_vocabulary.decode(best.tokens))
        rates.append(errors.rate or 0.0)
    return sum(rates) / len(rates)


def tune_words(
    bundle: Bundle, groups: Sequence[Sequence[Heard]],
    on_trial: Callable[[SearchConfig, float], object] = lambda *_: None,
) -> SearchConfig:
    """The settings of the words, by a coordinate search over `GRID` from the current ones.

    Each setting is tried alone, and the language model's weight with a bonus that makes up for
    what it takes off a word; round by round until nothing changes, `ROUNDS` times at most.
    """
    scorer = WordScorer(bundle.language_model(), bundle.text_vocabulary)
    config = bundle.manifest.search
    known: dict[WordConfig, float] = {}

    def rate(words: WordConfig) -> float:
        if words not in known:
            candidate = replace(config, words=words)
            known[words] = word_error_rate(bundle, scorer, candidate, groups)
            on_trial(candidate, known[words])
        return known[words]

    words = config.words
    for _ in range(ROUNDS):
        before = words
        for name, values in GRID.items():
            trials = [replace(words, **{name: value}) for value in values]
            words = min((words, *trials), key=rate)
        trials = [
            replace(words, lm_weight=weight, word_bonus=round(
                words.word_bonus + WORD_COST * (weight - words.lm_weight), 2))
            for weight in GRID["lm_weight"]
        ]  # fmt: skip
        words = min((words, *trials), key=rate)
        if words == before:
            break
    return replace(config, words=words)


@dataclass(frozen=True)
class Commands:
    """Recordings of a grammar's sentences."""

    grammar: Grammar
    heard: Sequence[Heard]
    asked: Sequence[Callable[[str], bool]]
    """For each of them whether a text is what it asks for."""


def tune_bonus(
    vocabulary: Vocabulary, config: CommandConfig, groups: Sequence[Commands],
    on_trial: Callable[[float, float], object] = lambda *_: None,
) -> CommandConfig:
    """The bonus of a letter with which most sentences are found, each grammar counting alike.

    Of several that find as many the middle one; as it was where none is found.
    """
    shares = []
    for bonus in BONUSES:
        found = [_share_found(vocabulary, replace(config, bonus=bonus), group) for group in groups]
        shares.append(sum(found) / max(1, len(found)))
        on_trial(bonus, shares[-1])
    if not max(shares, default=0):
        return config
    best = [bonus for bonus, share in zip(BONUSES, shares, strict=True) if share == max(shares)]
    return replace(config, bonus=best[len(best) // 2])


def _share_found(vocabulary: Vocabulary, config: CommandConfig, group: Commands) -> float:
    scorer = GrammarScorer(group.grammar, vocabulary, config.bonus)
    decoder = BeamDecoder(config.beam, [scorer])
    right = 0
    for heard, is_asked in zip(group.heard, group.asked, strict=True):
        best = search(decoder, heard).hypothesis(final=True)
        right += is_asked(vocabulary.decode(best.tokens))
    return right / max(1, len(group.heard))


def _search_of(bundle: Bundle, config: SearchConfig) -> Decoder:
    """The search with the language model, set otherwise."""
    return replace(bundle, manifest=replace(bundle.manifest, search=config)).decoder("lm")


def fit_confidence(
    bundle: Bundle, config: SearchConfig, groups: Sequence[Sequence[Heard]]
) -> ConfidenceConfig | None:
    """Logistic regression of "this word is right" on its two measures; None without words."""
    vocabulary, decoder = bundle.text_vocabulary, _search_of(bundle, config)
    rows: list[tuple[float, float, float]] = []
    right: list[bool] = []
    for heard in itertools.chain.from_iterable(groups):
        readings = search(decoder, heard).n_best(READINGS, final=True)
        words = words_of(readings[0], vocabulary, 1.0)
        shares = word_shares(readings, vocabulary)
        right += correct_words(heard.text, " ".join(word.text for word in words))
        rows += [
            (1.0, math.log(max(word.confidence, 1e-9)), log_odds(share))
            for word, share in zip(words, shares, strict=True)
        ]
    if not rows:
        return None
    return ConfidenceConfig(*map(float, logistic_regression(np.array(rows), np.array(right))))


def fit_timing(
    bundle: Bundle, config: SearchConfig, groups: Sequence[Sequence[Heard]]
) -> TimingConfig:
    """The medians by which the times of words that were heard right are off.

    As they were where no recording tells the times of its words.
    """
    letters = _fit_shift(replace(bundle, pieces=None), config, groups)  # as of commands
    pieces = _fit_shift(bundle, config, groups) if bundle.pieces is not None else None
    known = config.timing
    return TimingConfig(letters or known.letters, pieces or known.pieces)


def _fit_shift(
    bundle: Bundle, config: SearchConfig, groups: Sequence[Sequence[Heard]]
) -> TimeShift | None:
    aligned = [heard for heard in itertools.chain.from_iterable(groups) if heard.words]
    if not aligned:  # a search takes a second to build
        return None
    vocabulary, decoder = bundle.text_vocabulary, _search_of(bundle, config)
    unit = bundle.recognizer(decoder).frame_seconds
    starts, ends = [], []
    for heard in aligned:
        words = words_of(search(decoder, heard).hypothesis(final=True), vocabulary, unit)
        for said, found in matching_words([w.text for w in heard.words], [w.text for w in words]):
            starts.append(heard.words[said].start - words[found].start)
            ends.append(heard.words[said].end - words[found].end)
    if not starts:
        return None
    return TimeShift(round(float(np.median(starts)), 3), round(float(np.median(ends)), 3))


def logistic_regression(
    rows: NDArray[np.float64], right: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Weights (width,) that make sigmoid(rows @ weights) fit `right`, by Newton's method.

    A weak ridge keeps separable data finite.
    """
    weights = np.zeros(rows.shape[1])
    for _ in range(NEWTON_STEPS):
        guess = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        gradient = rows.T @ (guess - right) + RIDGE * weights
        curvature = (rows * (guess * (1 - guess))[:, None]).T @ rows
        weights -= np.linalg.solve(curvature + RIDGE * np.eye(len(weights)), gradient)
    return weights
