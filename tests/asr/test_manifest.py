"""Lists of recordings."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from asr.errors import ManifestError
from asr.manifest import Recording, SpokenWord, evenly, read_manifest, spoken_words


def write(folder: Path, *lines: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "list.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_line_is_a_recording(tmp_path: Path) -> None:
    row = {"audio": "x/1.wav", "text": "so", "speaker": "me", "seconds": 2, "noise": {"snr": 3}}
    assert read_manifest(write(tmp_path, json.dumps(row), "", '{"audio": "2.wav"}')) == [
        Recording("1", tmp_path / "x/1.wav", "so", "me", 2.0, {"noise": {"snr": 3}}),
        Recording("2", tmp_path / "2.wav", None),
    ]


def test_audio_is_looked_for_beside_the_manifest_then_above(tmp_path: Path) -> None:
    (tmp_path / "both.wav").touch()
    (tmp_path / "above.wav").touch()
    path = write(tmp_path / "lists", *(json.dumps({"audio": f"{n}.wav"}) for n in (
        "both", "above", "nowhere",
    )), json.dumps({"audio": "/absolute.wav"}))
    (tmp_path / "lists" / "both.wav").touch()
    assert [recording.audio for recording in read_manifest(path)] == [
        tmp_path / "lists" / "both.wav",
        tmp_path / "above.wav",
        tmp_path / "lists" / "nowhere.wav",
        Path("/absolute.wav"),
    ]


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0b"])
def test_only_newlines_end_a_line(tmp_path: Path, separator: str) -> None:
    # JSON may hold other line separators as they are
    text = f"one{separator}two"
    row = json.dumps({"audio": "1.wav", "text": text}, ensure_ascii=False)
    row = row.replace("\\u000b", separator)
    if separator == "\x0b":  # JSON forbids this one inside a string: it must still be one line
        with pytest.raises(ManifestError, match=":1: not JSON"):
            read_manifest(write(tmp_path, row))
    else:
        assert [r.text for r in read_manifest(write(tmp_path, row))] == [text]


def test_windows_line_ends_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_bytes(b'{"audio": "1.wav"}\r\n\r\n{"audio": "2.wav"}')
    assert [recording.id for recording in read_manifest(path)] == ["1", "2"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "'audio'"),
        ("{}", "'audio'"),
        ('{"audio": 3}', "'audio'"),
        ('{"audio": "1.wav", "text": 3}', "'text'"),
        ('{"audio": "1.wav", "seconds": "3"}', "'seconds'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path, '{"audio": "1.wav"}', line)
    with pytest.raises(ManifestError, match=f"list.jsonl:2: .*{reason}"):
        read_manifest(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.jsonl: No such file"):
        read_manifest(tmp_path / "none.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match=r"binary\.jsonl: is not UTF-8"):
        read_manifest(tmp_path / "binary.jsonl")


@pytest.mark.parametrize(("total", "count"), [(299, 150), (300, 150), (301, 150), (7, 3)])
def test_a_sample_comes_from_all_over_the_list(total: int, count: int) -> None:
    everything = [Recording(str(i), Path(f"{i}.wav"), None) for i in range(total)]
    places = [int(one.id) for one in evenly(everything, count)]
    assert len(places) == count
    gaps = {b - a for a, b in itertools.pairwise([*places, total])}
    assert max(gaps) - min(gaps) <= 1
    assert evenly(everything, total + 1) == everything
    assert evenly([], 5) == []


def test_aligned_words_are_read(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text('{"audio": "a.wav", "words": [["so", 0, 0.5]]}\n{"audio": "b.wav"}\n')
    aligned, plain = read_manifest(path)
    assert spoken_words(aligned) == (SpokenWord("so", 0.0, 0.5),)
    assert spoken_words(plain) == ()


@pytest.mark.parametrize("words", ['[["so", 0]]', '[["so", 0, "x"]]', '["so"]', "[[1, 2, 3]]"])
def test_a_word_without_times_is_named(tmp_path: Path, words: str) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(f'{{"audio": "a.wav", "id": "seven", "words": {words}}}\n')
    with pytest.raises(ManifestError, match=r"seven: expected \[word, start, end\]"):
        spoken_words(read_manifest(path)[0])
