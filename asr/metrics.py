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


def word_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Errors among the words of two texts."""
    return count_errors(reference.split(), hypothesis.split())


def character_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Errors among the characters of two texts, spaces included."""
    return count_errors(reference, hypothesis)
