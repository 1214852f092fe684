"""Spell text the way a letter recogniser writes it: a to z, apostrophes inside words, spaces."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from unicode_rbnf import FormatPurpose, RbnfEngine

_SYMBOLS = {
    "&": " and ",
    "%": " percent ",
    "+": " plus ",
    "@": " at ",
    "°": " degrees ",
    "½": " half ",
    # letters that Unicode does not take apart
    "ß": "ss",
    "æ": "ae",
    "œ": "oe",
    "ø": "o",
    "ł": "l",
    "đ": "d",
    "ð": "d",
    "þ": "th",
    "\u2019": "'",
    "\u2018": "'",
    "`": "'",
}
_NUMBER = re.compile(r"(?<![\w.])(?:0|[1-9]\d{0,14})(?:\.\d{1,9})?(?:(?:st|nd|rd|th)\b)?(?!\d)|\d")
_LOOSE_APOSTROPHE = re.compile(r"(?<![a-z])'(?![a-z])|(?<=\s)'|'(?=\s)")
_EDGE_APOSTROPHE = re.compile(r"^'|'$")
_PLAIN = re.compile(r"[a-z]+(?:'?[a-z]+)*(?: [a-z]+(?:'?[a-z]+)*)*")
# what a hassil template is made of besides text: references, brackets and escapes
_SYNTAX = re.compile(r"(\{[^{}]*\}|<[^<>]*>|[()\[\]|;]|\\.)")


@lru_cache(maxsize=1)
def _engine() -> RbnfEngine:
    return RbnfEngine.for_language("en")


def number_words(number: float | str, ordinal: bool = False) -> str:
    """The usual English words of a number: 21 is "twenty one", 2.5 "two point five"."""
    purpose = FormatPurpose.ORDINAL if ordinal else FormatPurpose.CARDINAL
    return str(_engine().format_number(number, purpose).text).replace("-", " ")


def number_variants(number: float) -> tuple[str, ...]:
    """All ways of saying a number that a range understands, the usual one first.

    Besides "one hundred five": "one hundred and five", "a hundred (and) five"; besides
    "two point five": "two and a half".
    """
    usual = number_words(number)
    found = [usual]
    if number > 1 and number % 1 == 0.5:
        found.append(f"{number_words(int(number - 0.5))} and a half")
    if number % 1 == 0:
        with_and = re.sub(r"\bhundred (?!thousand|million|and)", "hundred and ", usual)
        if number > 1000 and 0 < number % 1000 < 100:
            with_and = re.sub(r"\b(thousand|million) (?!.*(?:thousand|hundred))", r"\1 and ", usual)
        found.append(with_and)
        found += [
            "a" + words[3:] for words in found if re.match(r"one (hundred|thousand)\b", words)
        ]
    return tuple(dict.fromkeys(found))


def _spelled_number(match: re.Match[str]) -> str:
    digits = match.group()
    ordinal = digits[-2:] in ("st", "nd", "rd", "th")
    return f" {number_words(digits[:-2] if ordinal else digits, ordinal)} "


def _letters(text: str) -> str:
    """`text` in letters, apostrophes and spaces; spaces at its ends are kept."""
    text = "".join(_SYMBOLS.get(c, c) for c in text.lower())
    text = "".join(_SYMBOLS.get(c, c) for c in unicodedata.normalize("NFKD", text).lower())
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = _NUMBER.sub(_spelled_number, text)
    text = re.sub(r"(?<=[a-z])\.(?=[a-z]\b)", " ", text)  # A.C. is two letters
    text = re.sub(r"[.,](?=\s|$)", "", text)
    text = re.sub(r"[^a-z' ]+", " ", text)
    return re.sub(r" +", " ", _LOOSE_APOSTROPHE.sub("", text))


def spell(text: str) -> str:
    """`text` as the recogniser would write it; empty if nothing of it can be said.

    Letters lose case and accents; numbers become words ("24/7": "twenty four seven"), as do
    & % + @ and the degree sign; all other characters separate words ("A/C": "a c").
    """
    if _PLAIN.fullmatch(text):  # nearly all of a long list of names
        return text
    return _EDGE_APOSTROPHE.sub("", _letters(text).strip()).strip()


def spell_template(template: str) -> str:
    """The same for the text between a template's brackets and references."""
    pieces = _SYNTAX.split(template)
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            pieces[i] = _letters(piece)
        elif piece.startswith("\\"):
            pieces[i] = _letters(piece[1])
    return "".join(pieces).strip()


def unspoken(text: str) -> str:
    """The letters of other scripts in `text`, which `spell` leaves out."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(c for c in decomposed if c.isalpha() and not c.isascii() and c not in _SYMBOLS)
