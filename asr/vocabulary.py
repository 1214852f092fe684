"""Token ids and text: letters or word pieces, with one mark for the start of a word."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import ConfigError

BLANK_ID = 0
"""CTC's blank is always the first token."""

BLANK = "<blank>"
WORD_START = "▁"
"""U+2581, as in SentencePiece. A letter vocabulary holds it as a token of its own."""

LETTERS = "'abcdefghijklmnopqrstuvwxyz"


class Vocabulary:
    """An immutable list of tokens; token 0 is the blank."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tuple(tokens)
        if not self.tokens or self.tokens[BLANK_ID] != BLANK:
            raise ConfigError(f"the first token of a vocabulary must be {BLANK}")
        if len(set(self.tokens)) != len(self.tokens) or not all(self.tokens):
            raise ConfigError("a vocabulary must hold distinct tokens, none of them empty")
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        self._longest = max(map(len, self.tokens[1:]), default=0)
        words = [token for token in self.tokens if token.startswith(WORD_START)]
        self._marks_first = words != [WORD_START]
        """Whether the first word is marked, too: pieces carry the mark at their start, while the
        letters' boundary stands between words."""

    @classmethod
    def letters(cls) -> Vocabulary:
        """Blank, word boundary, apostrophe and a to z: 29 tokens."""
        return cls((BLANK, WORD_START, *LETTERS))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """Token ids of normalised text, the longest match first.

        Raises ValueError naming the first character that no token covers.
        """
        marked = WORD_START.join(text.split())
        if marked and self._marks_first:
            marked = WORD_START + marked
        ids: list[int] = []
        at = 0
        while at < len(marked):
            for size in range(self._longest, 0, -1):
                token = self._ids.get(marked[at : at + size])
                if token is not None and token != BLANK_ID:
                    ids.append(token)
                    at += size
                    break
            else:
                raise ValueError(f"no token for {marked[at]!r} in {text!r}")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of a whole token sequence, words separated by single spaces."""
        text = "".join(self.tokens[i] for i in ids).replace(WORD_START, " ")
        return " ".join(text.split())

    def starts_word(self, token: int) -> bool:
        """Whether a word begins at (or right after) this token."""
        return self.tokens[token].startswith(WORD_START)

    def is_boundary(self, token: int) -> bool:
        """Whether the token is nothing but the boundary between two words."""
        return self.tokens[token] == WORD_START
