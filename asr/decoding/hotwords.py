"""Hot words: phrases that the search prefers, given back where a phrase breaks off.

An Aho-Corasick automaton (Aho and Corasick 1975) over tokens whose matches begin and end at
words, as a dense table, so that a step for a whole beam is one indexing.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import HotwordError
from asr.vocabulary import BLANK_ID, Vocabulary

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

DEFAULT_BOOST = 0.25
MAX_PHRASES = 10_000


@dataclass(frozen=True)
class Hotword:
    """A phrase and what each of its letters adds to a hypothesis' log-score.

    The mark where a word begins counts as one: the same boost does for pieces and for letters.
    """

    text: str
    boost: float = DEFAULT_BOOST


def read_hotwords(path: Path, vocabulary: Vocabulary) -> list[Hotword]:
    """A file with one phrase a line, behind a tab or colon its boost; # starts a comment.

    Raises HotwordError naming file and line, also for phrases that no tokens spell.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise HotwordError(f"{path}: {reason}") from error
    hotwords = []
    for number, line in enumerate(lines, 1):
        content = line.split("#", 1)[0].strip()
        if not content:
            continue
        phrase, *rest = re.split(r"\s*[\t:]\s*", content)
        try:
            boost = float(rest[0]) if rest else DEFAULT_BOOST
        except ValueError:
            boost = float("nan")
        if not phrase or len(rest) > 1 or not abs(boost) <= 100:
            raise HotwordError(f"{path}:{number}: expected PHRASE or PHRASE: BOOST, got {line!r}")
        text = " ".join(phrase.lower().replace("\u2019", "'").split())
        try:
            vocabulary.encode(text)
        except ValueError as error:
            raise HotwordError(f"{path}:{number}: {error}: write it as it is spoken") from error
        hotwords.append(Hotword(text, boost))
    if len(hotwords) > MAX_PHRASES:
        raise HotwordError(f"{path}: more than {MAX_PHRASES} phrases")
    return hotwords


class HotwordScorer:
    """Boosts phrases token by token. States are (automaton state,).

    State 0 is inside a word that matches nothing, state 1 is the start of a word; the others
    are prefixes of phrases. A prefix has been `given` the most that a phrase which begins like it
    gives so far. Where the match ends, that becomes what the phrase is `worth`; where it breaks
    off, what its fallback, the longest match that begins later, comes to, and what is `kept` of
    phrases that ended before that one began.
    """

    def __init__(self, hotwords: Iterable[Hotword], vocabulary: Vocabulary) -> None:
        size = len(vocabulary)
        children: list[dict[int, int]] = [{}, {}]
        best, worth = [0.0, 0.0], dict[int, float]()
        for hotword in hotwords:
            at, gain = 1, 0.0
            for token in vocabulary.encode(hotword.text):
                gain += hotword.boost * len(vocabulary.tokens[token])
                below = children[at].setdefault(token, len(children))
                if below == len(children):
                    children.append({})
                    best.append(gain)
                best[below] = max(best[below], gain)
                at = below
            worth[at] = gain
        given = np.array(best)
        self._next = np.zeros((len(children), size), np.int32)
        self._gain = np.zeros((len(children), size))
        self._finish = np.zeros(len(children))
        starts = np.array([i != BLANK_ID and vocabulary.starts_word(i) for i in range(size)])
        for state in (0, 1):
            for token in range(size):
                boundary = vocabulary.is_boundary(token)
                if boundary or starts[token] or state == 1:
                    target = children[1].get(token, int(boundary))
                    self._next[state, token], self._gain[state, token] = target, given[target]
        kept = np.zeros(len(children))
        # by depth: the row of a fallback is complete
        queue = deque(
            (child, int(vocabulary.is_boundary(token))) for token, child in children[1].items()
        )
        while queue:
            state, fallback = queue.popleft()
            before = kept[state] + given[fallback]
            row = self._next[fallback].copy()
            total = before + self._gain[fallback]
            if state in worth:  # the longest match counts, where a word ends
                total = np.where(starts, worth[state] + given[row], total)
            self._finish[state] = worth.get(state, before + self._finish[fallback]) - given[state]
            for token, child in children[state].items():
                after = int(row[token])
                queue.append((child, after))
                kept[child] = total[token] - given[after]
                row[token], total[token] = child, given[child]
            self._next[state], self._gain[state] = row, total - given[state]

    def start(self) -> Ints:
        """At the start of a word."""
        return np.array([1], np.int32)

    def extend(
        self, states: Ints, tokens: Ints, wanted: NDArray[np.bool_]
    ) -> tuple[Floats, Ints]:
        """See `Scorer.extend`."""
        cells = states, tokens  # (n, 1) against (k,)
        return self._gain[cells], self._next[cells][:, :, None]

    def finish(self, states: Ints) -> Floats:
        """See `Scorer.finish`: the end of the utterance is the end of a word."""
        gains: Floats = self._finish[states[:, 0]]
        return gains
