"""Word and character error rates with counts.

Alignments come from rapidfuzz (MIT, no dependencies), which aligns any sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein


@dataclass(frozen=True)
class ErrorCounts:
    """Edits that turn references into hypotheses, summed over utterances."""

    reference: int = 0
    """Length of the references, in words or characters."""
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors over reference length; None without any reference."""
        return self.errors / self.reference if self.reference else None

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.reference + other.reference,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def count_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Edits of a shortest alignment of two sequences (words, or the characters of a text)."""
    tags = [op.tag for op in Levenshtein.editops(reference, hypothesis)]
    return ErrorCounts(
        len(reference), tags.count("replace"), tags.count("delete"), tags.count("insert")
    )


def correct_words(reference: str, hypothesis: str) -> list[bool]:
    """For each word of the hypothesis, whether a shortest alignment finds it right."""
    words = hypothesis.split()
    right = [True] * len(words)
    for op in Levenshtein.editops(reference.split(), words):
        if op.tag != "delete":
            right[op.dest_pos] = False
    return right


def matching_words(
    reference: Sequence[str], hypothesis: Sequence[str]
) -> list[tuple[int, int]]:
    """Places of the words that a shortest alignment finds right, in both."""
    found: list[tuple[int, int]] = []
    for block in Levenshtein.opcodes(reference, hypothesis):
        if block.tag == "equal":
            found += zip(range(block.src_start, block.src_end),
                         range(block.dest_start, block.dest_end), strict=True)
    return found


@dataclass(frozen=True)
class ReliabilityCell:
    """Words whose confidences lie in one interval."""

    words: int
    confidence: float
    """Mean of theirs."""
    accuracy: float
    """Share of them that is right."""


def reliability(
    confidences: Sequence[float], right: Sequence[bool], bins: int = 10
) -> list[ReliabilityCell]:
    """The intervals of a reliability diagram that hold any words."""
    cells: dict[int, list[tuple[float, bool]]] = {}
    for confidence, correct in zip(confidences, right, strict=True):
        cells.setdefault(min(bins - 1, int(confidence * bins)), []).append((confidence, correct))
    return [
        ReliabilityCell(len(cell), sum(c for c, _ in cell) / len(cell),
                        sum(r for _, r in cell) / len(cell))
        for _, cell in sorted(cells.items())
    ]


def calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017): confidence against share of right words.

    The difference of the two in each of `bins` equal intervals, weighted by its words.
    """
    table = reliability(confidences, right, bins)
    total = sum(abs(cell.confidence - cell.accuracy) * cell.words for cell in table)
    return total / max(1, len(confidences))


def word_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Errors among the words of two texts."""
    return count_errors(reference.split(), hypothesis.split())


def character_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Errors among the characters of two texts, spaces included."""
    return count_errors(reference, hypothesis)
