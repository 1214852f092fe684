"""Promises of the text readers."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from asr.errors import TextError
from asr.text import normalise, read_sentences


def test_text_is_normalised() -> None:
    assert normalise("'Tis  the DOG's—bone, rock'n'roll!") == "tis the dog's bone rock'n'roll"


def test_plain_gzip_and_manifest_give_the_same_sentences(tmp_path: Path) -> None:
    plain, packed, manifest = (tmp_path / name for name in ("a.txt", "b.txt", "c.jsonl"))
    plain.write_text("Hello, World!\n\n...\nIt\u2019s me\n", encoding="utf-8")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    manifest.write_text(
        '{"audio": "x", "text": "hello world"}\n{"audio": "y", "text": null}\n'
        '{"audio": "z", "text": "it\'s me"}\n'
    )
    for path in (plain, packed, manifest):
        assert list(read_sentences(path)) == ["hello world", "it's me"]


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"one\ntwo\ncaf\xe9\n")
    with pytest.raises(TextError, match=r"latin\.txt:3: is not UTF-8"):
        list(read_sentences(path))


@pytest.mark.parametrize("cut", [15, -4])
def test_a_truncated_gzip_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(b"".join(b"line %d\n" % i for i in range(99)))[:cut])
    with pytest.raises(TextError, match=r"cut\.gz:\d+: damaged gzip"):
        list(read_sentences(path))


def test_a_missing_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"nowhere\.txt: No such file"):
        list(read_sentences(tmp_path / "nowhere.txt"))
