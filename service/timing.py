"""How far word times are off, and how soon a word is shown once it has been said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

from asr.manifest import SpokenWord
from asr.metrics import matching_words

from .events import Event, Final


@dataclass(frozen=True)
class WordTimes:
    """Of the words that were heard right, in seconds."""

    starts: tuple[float, ...] = ()
    """Where each was said to start, less where it did."""
    ends: tuple[float, ...] = ()
    delays: tuple[float, ...] = ()
    """From its end to the audio behind which it was first shown, chunk and look-ahead included."""

    def __add__(self, other: WordTimes) -> WordTimes:
        return WordTimes(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def figures(self) -> dict[str, float] | None:
        """Median and 95th percentile of the errors and of the delay, in seconds."""
        if not self.starts:
            return None
        found = {"words": float(len(self.starts))}
        for name, sizes in (
            ("start_error", np.abs(self.starts)), ("end_error", np.abs(self.ends)),
            ("first_shown", np.array(self.delays)),
        ):
            found[f"{name}_median"], found[f"{name}_p95"] = map(
                float, np.percentile(sizes, (50, 95))
            )
        for name, values in (("start_bias", self.starts), ("end_bias", self.ends)):
            found[name] = float(np.median(values))
        return found


def time_words(spoken: Sequence[SpokenWord], told: Sequence[tuple[Event, float]]) -> WordTimes:
    """Compare the aligned words of a recording with the events that told them.

    `told` has each event with the seconds of audio that it took. A word counts as shown from
    the first event of its utterance on that holds it as often as the final does up to there.
    """
    heard = [
        (final.utterance, [word.text for word in final.words[: i + 1]], word)
        for final, _ in told if isinstance(final, Final)
        for i, word in enumerate(final.words)
    ]
    texts = [word.text for _, _, word in heard]
    times = WordTimes()
    for said, found in matching_words([word.text for word in spoken], texts):
        utterance, upto, word = heard[found]
        shown = next(
            seconds for event, seconds in told
            if event.utterance == utterance
            and event.text.split().count(word.text) >= upto.count(word.text)
        )
        times += WordTimes(
            (word.start - spoken[said].start,), (word.end - spoken[said].end,),
            (shown - spoken[said].end,),
        )
    return times
