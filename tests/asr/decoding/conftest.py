"""Speech made up for the decoders: log-probs of a text."""

from __future__ import annotations

import numpy as np
import torch

from asr.vocabulary import Vocabulary

LETTERS = Vocabulary.letters()


def spoken(text: str, blur: float = 0.0) -> torch.Tensor:
    """Log-probs of a text, a letter each second frame; blurred ones may be their neighbours."""
    rows = []
    for token in LETTERS.encode(text):
        row = np.full(len(LETTERS), 1e-4)
        row[token] = 1 - blur
        if token > 2:
            row[token - 1] += blur
        rows += [row, np.eye(len(LETTERS))[0] + 1e-4]
    scores = np.array(rows)
    return torch.tensor(np.log(scores / scores.sum(1, keepdims=True)))


def faint(text: str, part: str, share: float) -> torch.Tensor:
    """Log-probs of a text, of which the letters of a part are mere shares of a blank's frame."""
    scores = spoken(text).exp()
    begin = text.index(part)
    for i in range(begin, begin + len(part)):
        row = scores[2 * i]
        row[int(row.argmax())] = share
        row[0] = 1 - share
    return scores.log()
