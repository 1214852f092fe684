"""Read and write ARPA files, the exchange format of n-gram language models."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError, TextError
from asr.text import read_lines

from .ngrams import MAX_WORDS, NEVER, SPECIAL, NGrams, back_off, build_trie

MAX_ORDER = 10
LOG_10 = math.log(10)


def read_arpa(path: Path, on_ngram: Callable[[], object] = lambda: None) -> NGrams:
    """The model of an ARPA file, plain or gzip, of any order and toolkit.

    Fields may be parted by tabs or spaces, back-offs may be missing, `-99` and `-inf` mean
    never. Contexts that were pruned away come back with the probability that backing off
    gives them. Absent `<unk>`, `<s>`, `</s>` are added as never predicted. A file without a
    lower-case letter is taken as the upper case of lower-case words. Raises
    LanguageModelError naming file and line.
    """
    return _Reader(path, on_ngram).read()


def write_arpa(model: NGrams, path: Path) -> None:
    """Write the model as an ARPA file; it is complete or absent."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write("\\data\\\n")
            for k in range(1, model.order + 1):
                file.write(f"ngram {k}={model.levels[k + 1] - model.levels[k]}\n")
            texts = [""]
            for k in range(1, model.order + 1):
                file.write(f"\n\\{k}-grams:\n")
                start = model.levels[k - 1]
                last, texts = texts, []
                for node in range(model.levels[k], model.levels[k + 1]):
                    word = model.vocabulary[model.words[node]]
                    text = f"{last[model.parents[node] - start]} {word}" if k > 1 else word
                    texts.append(text)
                    line = f"{max(model.log_probs[node] / LOG_10, -99):.7g}\t{text}"
                    if node < model.n_states and model.backoffs[node]:
                        line += f"\t{model.backoffs[node] / LOG_10:.7g}"
                    file.write(line + "\n")
            file.write("\n\\end\\\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class _Section:
    """The n-grams of one order, in the order of the file."""

    def __init__(self) -> None:
        self.words, self.lines = array("i"), array("q")
        self.log_probs, self.backoffs = array("d"), array("d")


class _Reader:
    def __init__(self, path: Path, on_ngram: Callable[[], object]) -> None:
        self.path, self.on_ngram, self.number = path, on_ngram, 0
        self.ids = {word: i for i, word in enumerate(SPECIAL)}
        self.lines = self._lines()

    def _lines(self) -> Iterator[str]:
        for number, line in read_lines(self.path):
            self.number = number
            text = line.strip(" \t\r\n")
            if text:
                yield text

    def fail(self, reason: str, line: int | None = None) -> LanguageModelError:
        return LanguageModelError(self.path, reason, line or max(self.number, 1))

    def read(self) -> NGrams:
        try:
            counts = self._header()
            sections = [self._section(k, counts) for k in range(1, len(counts) + 1)]
        except TextError as error:
            raise LanguageModelError(self.path, error.reason, error.line) from error
        vocabulary = tuple(self.ids)
        if all(word == word.upper() for word in vocabulary[len(SPECIAL) :]):
            vocabulary = SPECIAL + tuple(map(str.lower, vocabulary[len(SPECIAL) :]))
        return self._model(vocabulary, sections)

    def _header(self) -> list[int]:
        for line in self.lines:
            if line == "\\data\\":
                break
            if line.split()[0] in ("iARPA", "qARPA"):
                raise self.fail(f"{line.split()[0]} is no plain ARPA: convert it with compile-lm")
        else:
            raise self.fail("no \\data\\ line: not an ARPA file")
        counts: list[int] = []
        for line in self.lines:
            if line.startswith("\\"):
                if not counts:
                    raise self.fail("no 'ngram 1=...' line below \\data\\")
                self.heading = line
                return counts
            name, equals, value = line.partition("=")
            if name.split() != ["ngram", str(len(counts) + 1)] or not equals:
                raise self.fail(f"expected 'ngram {len(counts) + 1}=COUNT', found {line[:60]!r}")
            if not value.strip().isdecimal():
                raise self.fail(f"{value.strip()[:60]!r} is not a count")
            if len(counts) == MAX_ORDER:
                raise self.fail(f"an order above {MAX_ORDER}")
            counts.append(int(value))
        raise self.fail("the file ends in its header")

    def _section(self, k: int, counts: list[int]) -> _Section:
        if self.heading != f"\\{k}-grams:":
            raise self.fail(f"expected '\\{k}-grams:', found '{self.heading[:60]}'")
        section = _Section()
        for line in self.lines:
            if line[0] == "\\" and (line == "\\end\\" or line.endswith("-grams:")):
                self.heading = line
                break
            self._entry(section, line, k)
            self.on_ngram()
        else:
            raise self.fail("the file ends without \\end\\")
        found, said = len(section.log_probs), counts[k - 1]
        if found != said:
            raise self.fail(f"{found} {k}-grams end here, the header says {said}")
        if k == len(counts) and self.heading != "\\end\\":
            raise self.fail(f"expected \\end\\, found '{self.heading[:60]}'")
        if k == 1:
            self._refuse_repeats(section, np.array(section.words))
        return section

    def _entry(self, section: _Section, line: str, k: int) -> None:
        # not split(): words may hold the rarer white space of Unicode
        fields = [field for field in line.replace("\t", " ").split(" ") if field]
        if not k + 1 <= len(fields) <= k + 2:
            raise self.fail(f"expected a number, {k} words and a back-off: {line[:60]!r}")
        log_prob = self._number(fields[0])
        if log_prob > 1e-4:  # toolkits round
            raise self.fail(f"log-probability {fields[0]} is above 0")
        section.log_probs.append(min(log_prob, 0.0))
        section.backoffs.append(self._number(fields[k + 1]) if len(fields) == k + 2 else 0.0)
        section.lines.append(self.number)
        for field in fields[1 : k + 1]:
            word = field.lower() if field[0] == "<" and field.lower() in SPECIAL else field
            if k == 1:
                if len(self.ids) >= MAX_WORDS:
                    raise self.fail(f"more than {MAX_WORDS} words")
                section.words.append(self.ids.setdefault(word, len(self.ids)))
            elif word in self.ids:
                section.words.append(self.ids[word])
            else:
                raise self.fail(f"{word[:60]!r} is not among the 1-grams")

    def _number(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError as error:
            raise self.fail(f"{text[:60]!r} is not a number") from error
        if math.isnan(value) or value == math.inf:
            raise self.fail(f"{text!r} is not a usable number")
        return max(value * LOG_10, NEVER)

    def _model(self, vocabulary: tuple[str, ...], sections: list[_Section]) -> NGrams:
        unigrams, higher = sections[0], sections[1:]
        rows = [
            np.array(section.words, np.int32).reshape(-1, k)
            for k, section in enumerate(higher, 2)
        ]
        model, nodes = build_trie(vocabulary, rows)
        nodes.insert(0, 1 + np.array(unigrams.words, np.int64))
        model.log_probs[1 : 1 + len(SPECIAL)] = NEVER
        for section, at in zip(sections, nodes, strict=True):
            self._refuse_repeats(section, at)
            model.log_probs[at] = section.log_probs
            if section is not sections[-1]:
                model.backoffs[at] = section.backoffs
        _fill_pruned(model)
        return model

    def _refuse_repeats(self, section: _Section, nodes: NDArray[np.int64]) -> None:
        order = np.argsort(nodes, kind="stable")
        again = order[1:][np.diff(nodes[order]) == 0]
        if len(again):
            raise self.fail("an n-gram that stood above already", section.lines[again.min()])


def _fill_pruned(model: NGrams) -> None:
    """Give the contexts that had to be added the probabilities that backing off gives them."""
    for k in range(2, model.order):
        level = slice(model.levels[k], model.levels[k + 1])
        missing = level.start + np.flatnonzero(np.isnan(model.log_probs[level]))
        parents = model.parents[missing]
        found, penalties, _ = back_off(
            model.keys, model.suffixes, model.backoffs, model.order,
            model.suffixes[parents], model.words[missing],
        )
        model.log_probs[missing] = model.log_probs[found] + penalties + model.backoffs[parents]
