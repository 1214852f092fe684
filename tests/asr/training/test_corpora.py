"""Promises of the corpus readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.errors import ManifestError
from asr.manifest import Recording
from asr.training.corpora import keep_within, read_corpus


def test_librispeech_folders_are_read(tmp_path: Path) -> None:
    chapter = tmp_path / "19" / "198"
    chapter.mkdir(parents=True)
    (chapter / "19-198.trans.txt").write_text("19-198-0000 NORTHANGER ABBEY\n19-198-0001 IT'S\n")
    for name in ("19-198-0000.flac", "19-198-0001.flac"):
        (chapter / name).touch()
    first, second = read_corpus(tmp_path)
    assert (first.id, first.text, first.speaker) == ("19-198-0000", "northanger abbey", "libri-19")
    assert second.audio == chapter / "19-198-0001.flac"
    assert second.text == "it's"


def test_a_transcript_without_audio_is_named(tmp_path: Path) -> None:
    (tmp_path / "1-2.trans.txt").write_text("1-2-0000 HELLO\n")
    with pytest.raises(ManifestError, match="1-2-0000"):
        read_corpus(tmp_path)


def test_a_folder_without_transcripts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no \*\.trans\.txt"):
        read_corpus(tmp_path)


def test_common_voice_lists_are_read(tmp_path: Path) -> None:
    table = tmp_path / "train.tsv"
    table.write_text(
        'client_id\tpath\tsentence\nabc\tcv_1.mp3\tHe said "Don\u2019t!" twice.\n', encoding="utf-8"
    )
    (recording,) = read_corpus(table)
    assert recording.audio == tmp_path / "clips" / "cv_1.mp3"
    assert recording.text == "he said don't twice"
    assert recording.speaker == "cv-abc"


def test_another_table_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "other.tsv"
    table.write_text("a\tb\n1\t2\n")
    with pytest.raises(ManifestError, match="not a Common Voice list"):
        read_corpus(table)


def test_bounds_keep_lines_without_the_key() -> None:
    rows = [
        Recording("a", Path("a"), "x", extra={"agreement": 0.9}),
        Recording("b", Path("b"), "x", extra={"agreement": 0.5}),
        Recording("c", Path("c"), "x"),
    ]
    assert [r.id for r in keep_within(rows, {"agreement": 0.7})] == ["a", "c"]
