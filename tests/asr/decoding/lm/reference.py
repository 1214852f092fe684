"""Back-off and Kneser-Ney as the papers write them: dictionaries and recursion."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

NGram = tuple[str, ...]
Entry = tuple[float, float]
"""Log-probability and back-off, base 10 as in ARPA files."""

LOG_10 = math.log(10)


def log_prob(entries: dict[NGram, Entry], context: NGram, word: str) -> float:
    """Katz's rule, base 10; never for a word without a unigram."""
    if (*context, word) in entries:
        return entries[*context, word][0]
    if not context:
        return -99.0
    return entries.get(context, (0.0, 0.0))[1] + log_prob(entries, context[1:], word)


def sentence_log_probs(
    entries: dict[NGram, Entry], order: int, context: NGram, words: Sequence[str]
) -> list[float]:
    """Natural log-probabilities of the words, each behind all that stand before it."""
    result = []
    for word in words:
        context = context[-(order - 1) :] if order > 1 else ()
        result.append(log_prob(entries, context, word) * LOG_10)
        context = (*context, word)
    return result


def write(path: Path, entries: dict[NGram, Entry], order: int) -> Path:
    """The entries as an ARPA file."""
    lines = ["\\data\\"]
    sections = [[n for n in entries if len(n) == k] for k in range(1, order + 1)]
    lines += [f"ngram {k}={len(section)}" for k, section in enumerate(sections, 1)]
    for k, section in enumerate(sections, 1):
        lines += ["", f"\\{k}-grams:"]
        for ngram in section:
            value, backoff = entries[ngram]
            tail = f"\t{backoff!r}" if k < order and backoff else ""
            lines.append(f"{value!r}\t{' '.join(ngram)}{tail}")
    path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")
    return path


def kneser_ney(
    sentences: Sequence[str], order: int, discounts: Sequence[float]
) -> dict[tuple[NGram, str], float]:
    """Probability of each word behind each context of the text, for fixed discounts."""
    counts: list[Counter[NGram]] = [Counter() for _ in range(order + 1)]
    for sentence in sentences:
        words = ["<s>", *sentence.split(), "</s>"]
        for k in range(1, order + 1):
            counts[k].update(tuple(words[i : i + k]) for i in range(len(words) - k + 1))
    vocabulary = sorted({n[0] for n in counts[1]} | {"<unk>"} - {"<s>"})
    vocabulary.remove("<s>")
    adjusted: list[dict[NGram, int]] = [{} for _ in range(order + 1)]
    for k in range(1, order + 1):
        for ngram, times in counts[k].items():
            before = sum(longer[1:] == ngram for longer in counts[k + 1]) if k < order else 0
            adjusted[k][ngram] = times if k == order or ngram[0] == "<s>" else before
    adjusted[1].pop(("<s>",))

    def prob(context: NGram, word: str) -> float:
        behind = {n: c for n, c in adjusted[len(context) + 1].items() if n[:-1] == context}
        lower = prob(context[1:], word) if context else 1 / len(vocabulary)
        if not behind:
            return lower
        taken = {n: discounts[min(c, 3)] for n, c in behind.items()}
        ngram = (*context, word)
        own = behind.get(ngram, 0) - taken.get(ngram, 0.0)
        return (own + sum(taken.values()) * lower) / sum(behind.values())

    contexts = [()] + [n for k in range(1, order) for n in counts[k]]
    return {(c, w): prob(c, w) for c in contexts for w in vocabulary}
