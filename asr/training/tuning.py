"""Fit what a search needs to know about its model: language-model weights, confidences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.audio import open_audio
from asr.bundle import Bundle
from asr.decoding.base import Hypothesis, words_of
from asr.decoding.beam import BeamDecoder
from asr.decoding.confidence import ConfidenceConfig, log_odds, word_shares
from asr.decoding.decoders import SearchConfig
from asr.decoding.lexicon import WordScorer
from asr.manifest import Recording
from asr.metrics import ErrorCounts, correct_words, word_errors
from asr.streaming import READINGS, Recognizer

LM_WEIGHTS = (0.3, 0.45, 0.6, 0.8)
WORD_BONUSES = (0.0, 0.7, 1.4, 2.2)
SPELLING_PENALTIES = (0.3, 1.2, 2.0, 3.0)
NEWTON_STEPS = 30
RIDGE = 1e-3
CHUNK_FRAMES = 4


@dataclass(frozen=True)
class Heard:
    """A recording as the network hears it."""

    text: str
    log_probs: Tensor
    """(frames, vocab), those of `Recognizer`."""


class _Listener:
    """A decoder that searches nothing and keeps what the network says."""

    confidence = None

    def __init__(self) -> None:
        self.rows: list[Tensor] = []
        self.last_token = 0

    def new_stream(self, last_token: int | None = None) -> _Listener:
        return self

    def advance(self, log_probs: Tensor) -> None:
        self.rows.append(log_probs.clone())

    def hypothesis(self, final: bool = False) -> Hypothesis:
        return Hypothesis()

    def n_best(self, count: int, final: bool = False) -> list[Hypothesis]:
        return [Hypothesis()]


def listen(bundle: Bundle, recordings: Sequence[Recording]) -> Iterator[Heard]:
    """What the network says to each recording that has a text. Raises AudioFileError."""
    for recording in recordings:
        if recording.text is None:
            continue
        kept = _Listener()
        recognizer = Recognizer(bundle.extractor, bundle.model, bundle.vocabulary, kept)
        with open_audio(recording.audio) as reader:
            session = recognizer.new_session(reader.sample_rate, reader.channels)
            for block in reader.blocks:
                session.accept(block)
                while session.ready:
                    recognizer.step([session])
        session.finish()
        while session.ready:
            recognizer.step([session])
        rows = kept.rows or [torch.zeros(0, len(bundle.vocabulary))]
        yield Heard(recording.text, torch.cat(rows))


def search(decoder: BeamDecoder, heard: Heard) -> list[Hypothesis]:
    """The best readings of a recording, as a stream gives them."""
    stream = decoder.new_stream()
    for chunk in torch.split(heard.log_probs, CHUNK_FRAMES):
        stream.advance(chunk)
    return stream.n_best(READINGS, final=True)


def word_error_rate(
    bundle: Bundle, scorer: WordScorer, config: SearchConfig, groups: Sequence[Sequence[Heard]]
) -> float:
    """The mean of the groups' word error rates, so that a small set counts like a large one."""
    decoder = BeamDecoder(config.beam, [scorer.with_config(config.words)])
    rates = []
    for group in groups:
        errors = ErrorCounts()
        for heard in group:
            best = search(decoder, heard)[0]
            errors += word_errors(heard.text, bundle.vocabulary.decode(best.tokens))
        rates.append(errors.rate or 0.0)
    return sum(rates) / len(rates)


def tune_words(
    bundle: Bundle, groups: Sequence[Sequence[Heard]],
    on_trial: Callable[[SearchConfig, float], object] = lambda *_: None,
) -> SearchConfig:
    """The price of unknown words, then language-model weight and word bonus, by grid search."""
    scorer = WordScorer(bundle.language_model(), bundle.vocabulary)
    best, config = math.inf, bundle.manifest.search

    def attempt(candidate: SearchConfig) -> None:
        nonlocal best, config
        rate = word_error_rate(bundle, scorer, candidate, groups)
        on_trial(candidate, rate)
        if rate < best:
            best, config = rate, candidate

    attempt(config)
    for penalty in SPELLING_PENALTIES:
        attempt(replace(config, words=replace(config.words, spelling_penalty=penalty)))
    for weight, bonus in itertools.product(LM_WEIGHTS, WORD_BONUSES):
        words = replace(config.words, lm_weight=weight, word_bonus=bonus)
        attempt(replace(config, words=words))
    return config


def fit_confidence(
    bundle: Bundle, config: SearchConfig, groups: Sequence[Sequence[Heard]]
) -> ConfidenceConfig:
    """Logistic regression of "this word is right" on its two measures."""
    scorer = WordScorer(bundle.language_model(), bundle.vocabulary, config.words)
    decoder = BeamDecoder(config.beam, [scorer])
    rows: list[tuple[float, float, float]] = []
    right: list[bool] = []
    for heard in itertools.chain.from_iterable(groups):
        readings = search(decoder, heard)
        words = words_of(readings[0], bundle.vocabulary, 1.0)
        shares = word_shares(readings, bundle.vocabulary)
        right += correct_words(heard.text, " ".join(word.text for word in words))
        rows += [
            (1.0, math.log(max(word.confidence, 1e-9)), log_odds(share))
            for word, share in zip(words, shares, strict=True)
        ]
    return ConfidenceConfig(*map(float, logistic_regression(np.array(rows), np.array(right))))


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
