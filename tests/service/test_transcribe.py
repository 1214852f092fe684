"""`asrd transcribe` inside this process: outputs, formats, bad input, exit status."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asr import __version__
from asr.bundle import Bundle
from asr.errors import BundleError
from service.cli import main

from .conftest import DEFAULT_MODEL

Say = Callable[..., Path]
Speech = Callable[..., NDArray[np.float32]]
Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("bundled")


def transcribe(*arguments: object) -> int:
    return main(["transcribe", *map(str, arguments)])


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("name", "rate", "options"),
    [
        ("x.wav", 8_000, {}),
        ("x.wav", 44_100, {"subtype": "FLOAT"}),
        ("x.flac", 16_000, {}),
        ("x.ogg", 48_000, {}),
        ("x.opus", 48_000, {"format": "OGG", "subtype": "OPUS"}),
        ("x.mp3", 16_000, {}),
    ],
)
def test_one_file_gives_its_text_alone(
    say: Say, capfd: Capture, name: str, rate: int, options: dict[str, Any]
) -> None:
    assert transcribe(say(name, "ab c.b", rate, **options)) == 0
    assert capfd.readouterr() == ("ab c b\n", "")


def test_stereo_is_mixed_down(tmp_path: Path, speech: Speech, capfd: Capture) -> None:
    both = np.stack([speech("ab   "), speech("   cd")], axis=1)
    soundfile.write(tmp_path / "x.wav", both, 16_000)
    assert transcribe(tmp_path / "x.wav") == 0
    assert capfd.readouterr().out == "ab cd\n"


def test_several_files_give_a_line_each_with_their_names(say: Say, capfd: Capture) -> None:
    first, second = say("1.wav", "a b a b a b"), say("2.flac", "c")
    assert transcribe(second, first, second) == 0
    assert capfd.readouterr().out == f"{second}: c\n{first}: a b a b a b\n{second}: c\n"


def test_directories_are_searched(say: Say, tmp_path: Path, capfd: Capture) -> None:
    say("in/b/2.wav", "b"), say("in/1.flac", "a"), say("in/.hidden/3.wav", "c")
    (tmp_path / "in/notes.txt").write_text("no audio")
    assert transcribe(tmp_path / "in") == 0
    assert capfd.readouterr().out == f"{tmp_path}/in/1.flac: a\n{tmp_path}/in/b/2.wav: b\n"


@pytest.mark.parametrize("extra", [b"", b"\x01"])
def test_standard_input_is_raw_pcm(
    monkeypatch: pytest.MonkeyPatch, speech: Speech, capfd: Capture, extra: bytes
) -> None:
    mono = (speech("ab c", rate=8_000) * 32767).astype("<i2")
    feed(monkeypatch, np.repeat(mono, 2).tobytes() + extra)
    assert transcribe("-", "--rate", 8_000, "--channels", 2) == 0
    assert capfd.readouterr() == ("ab c\n", "")


def test_silence_and_no_samples_are_empty_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Capture
) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 16_000)
    for name in ("silence.wav", "nothing.wav"):
        assert transcribe(tmp_path / name) == 0
        assert capfd.readouterr() == ("\n", "")
    feed(monkeypatch, b"")
    assert transcribe("-") == 0
    assert capfd.readouterr() == ("\n", "")


def test_json_is_one_object_a_line(say: Say, capfd: Capture) -> None:
    paths = [say("1.wav", "ab c"), say("2.wav", "d")]
    assert transcribe("--format", "json", *paths) == 0
    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    assert (first["file"], first["text"], second["text"]) == (str(paths[0]), "ab c", "d")
    assert [word["word"] for word in first["utterances"][0]["words"]] == ["ab", "c"]
    assert first["seconds"] == pytest.approx(1.0)


@pytest.mark.parametrize(("name", "head"), [("srt", "1\n00:00:0"), ("vtt", "WEBVTT\n\n00:00:0")])
def test_subtitles_of_one_file_go_to_standard_output(
    say: Say, capfd: Capture, name: str, head: str
) -> None:
    assert transcribe("--format", name, say("x.wav", "ab.c")) == 0
    out = capfd.readouterr().out
    assert out.startswith(head)
    assert out.count(" --> ") == 2


def test_subtitles_of_several_files_need_a_directory(say: Say, capfd: Capture) -> None:
    assert transcribe("--format", "srt", say("1.wav"), say("2.wav")) == 2
    assert capfd.readouterr() == ("", "asrd: srt of several files needs --output DIR\n")


def test_output_files_never_overwrite_each_other(say: Say, tmp_path: Path, capfd: Capture) -> None:
    paths = [say("a/x.wav", "a"), say("b/x.wav", "b"), say("b/x.flac", "c"), say("x.1.wav", "d")]
    out = tmp_path / "made/out"
    assert transcribe(*paths, tmp_path / "b", "--output", out) == 0
    assert capfd.readouterr() == ("", "")
    written = {path.name: path.read_text() for path in out.iterdir()}
    assert written == {
        "x.txt": "a\n",
        "x-2.txt": "b\n",
        "x-3.txt": "c\n",
        "x.1.txt": "d\n",
        "x-4.txt": "c\n",
        "x-5.txt": "b\n",
    }


def test_output_of_a_directory_keeps_its_tree(say: Say, tmp_path: Path) -> None:
    say("in/1/x.wav", "a"), say("in/2/x.wav", "b")
    out = tmp_path / "out"
    assert transcribe(tmp_path / "in", "--output", out, "--format", "vtt") == 0
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == ["1/x.vtt", "2/x.vtt"]


def test_partials_go_to_standard_error(say: Say, capfd: Capture) -> None:
    assert transcribe("--partials", say("x.wav", "ab c")) == 0
    out, err = capfd.readouterr()
    assert out == "ab c\n"
    assert err == "partial: a\npartial: ab\npartial: ab c\nfinal: ab c\n"


def test_a_broken_file_leaves_the_others_transcribed(
    say: Say, tmp_path: Path, speech: Speech, capfd: Capture
) -> None:
    first, last = say("first.wav", "ab"), say("last.wav", "c")
    cut, flac, nan = say("cut.wav", "ab cd"), say("cut.flac", "ab cd"), tmp_path / "nan.wav"
    for path in (cut, flac):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    samples = speech("ab cd")
    samples[1] = np.nan
    soundfile.write(nan, samples, 16_000, subtype="FLOAT")
    empty, text, folder = tmp_path / "empty.wav", tmp_path / "text.wav", tmp_path / "folder"
    empty.touch()
    text.write_text("hello\n" * 99)
    folder.mkdir()
    low = tmp_path / "low.wav"
    soundfile.write(low, np.zeros(99), 4_000)
    bad = [cut, flac, nan, empty, text, folder, low, tmp_path / "missing.wav"]
    assert transcribe(first, *bad, last) == 1
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"{first}: ab"
    assert lines[1].startswith(f"{cut}: ab c")  # what could be read is not lost
    assert lines[-1] == f"{last}: c"
    reasons = [
        "truncated",
        "truncated",
        "samples hold NaN",
        "empty file",
        "not a supported audio file",
        "no audio files in this directory",
        "sample rate 4000 Hz",
        "no such file or directory",
    ]
    errors = err.splitlines()
    assert len(errors) == len(bad)
    for line, path, reason in zip(errors, bad, reasons, strict=True):
        assert line.startswith(f"asrd: {path}: {reason}")


def test_a_name_with_control_characters_stays_on_one_line(say: Say, capfd: Capture) -> None:
    path = say("a\nb.wav", "a")
    assert transcribe(path, path.with_name("\x1b[2J\udcff.wav")) == 1
    out, err = capfd.readouterr()
    assert out.endswith("a\\nb.wav: a\n")
    assert err.endswith("\\x1b[2J\\udcff.wav: no such file or directory\n")
    assert out.count("\n") == err.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        BundleError("models/x", "wrong checksum of weights.safetensors"),
        BundleError("models/x", "format version 9 is not supported"),
        BundleError("models/x", "output.weight is shaped (3, 4), expected (29, 4)"),
        OSError(28, "No space left on device", "models/x"),
        RuntimeError("surprise"),
    ],
)
def test_a_bad_bundle_is_one_line_and_a_traceback_only_with_debug(
    say: Say, monkeypatch: pytest.MonkeyPatch, capfd: Capture, error: Exception
) -> None:
    def load_bundle(path: Path) -> Bundle:
        raise error

    monkeypatch.setattr("asr.bundle.load_bundle", load_bundle)
    path = say("x.wav")
    assert transcribe(path) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("asrd: ")
    assert err.count("\n") == 1
    for arguments in (["--debug", "transcribe", str(path)], ["transcribe", str(path), "--debug"]):
        with pytest.raises(type(error)):
            main(arguments)


def test_model_and_decoder_are_handed_on(say: Say, bundled: list[dict[str, Any]]) -> None:
    transcribe("--model", "some/dir", "--decoder", "beam", say("x.wav"))
    transcribe(say("x.wav"))
    assert bundled == [
        {"path": Path("some/dir"), "decoder": "beam"},
        {"path": DEFAULT_MODEL, "decoder": None},
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["-", "-"],
        ["-", "--rate", "4000"],
        ["-", "--channels", "99"],
        ["x.wav", "--streams", "0"],
        ["x.wav", "--format", "pdf"],
        ["x.wav", "--nonsense"],
        [],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], capfd: Capture) -> None:
    try:
        status: Any = transcribe(*arguments)
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert "asrd" in capfd.readouterr().err


def test_an_output_that_is_a_file_is_an_error(say: Say, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "out").touch()
    assert transcribe(say("x.wav"), "--output", tmp_path / "out") == 1
    assert capfd.readouterr().err == f"asrd: {tmp_path}/out: file exists\n"


def test_version_and_help_are_quick(capfd: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capfd.readouterr().out == f"asrd {__version__}\n"
    code = "import sys, service.cli as c; c._parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
