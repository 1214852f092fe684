"""Find the line of a key in a TOML text, to say where a mistake is."""

from __future__ import annotations

import re

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_KEY})\s*\]\]?")
_ASSIGNMENT = re.compile(rf"\s*({_KEY})\s*=")
_TOKEN = re.compile(
    r'''"{3}(?:[^\\]|\\.)*?"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|[\[{]|[\]}]|\n''',
    re.DOTALL,
)


def line_of(text: str, key: str) -> int | None:
    """The line, counted from 1, of a key such as `outputs.tcp.port` or `microphones[1].name`.

    Where the key stands in no line of its own (inside an inline table, or left out) it is the
    line of the nearest key above it; None if there is none either. `text` is valid TOML.
    """
    lines = _lines(text)
    while key:
        if key in lines:
            return lines[key]
        key = re.sub(r"(?:\.?[^.\[]+|\[\d+\])$", "", key)
    return None


def _lines(text: str) -> dict[str, int]:
    """The line where each key is first seen."""
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    section = ""
    for number, line in _statements(text):
        if header := _HEADER.match(line):
            section = _plain(header[2])
            if header[1] == "[[":
                index = counts[section] = counts.get(section, -1) + 1
                found.setdefault(section, number)
                section = f"{section}[{index}]"
            found.setdefault(section, number)
        elif assignment := _ASSIGNMENT.match(line):
            name = _plain(assignment[1])
            found.setdefault(f"{section}.{name}" if section else name, number)
    return found


def _statements(text: str) -> list[tuple[int, str]]:
    """Lines with their numbers, without those that continue a value begun above."""
    starts, depth, number, start = [], 0, 1, 0
    in_statement = False
    for token in _TOKEN.finditer(text + "\n"):
        kind = token[0]
        if kind == "\n":
            if not in_statement:
                starts.append((number, text[start : token.start()]))
            in_statement = depth > 0
            start = token.end()
        elif kind in ("[", "{"):
            depth += 1
        elif kind in ("]", "}"):
            depth -= 1
        elif "\n" in kind and not in_statement:  # a string over several lines
            starts.append((number, text[start : token.start()]))
            in_statement = True
        number += kind.count("\n")
    return starts


def _plain(key: str) -> str:
    """The key as the schema writes it: without quotes and blanks."""
    return ".".join(part.strip("\"'") for part in re.findall(_PART, key))
