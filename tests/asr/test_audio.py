"""Reading audio: formats, blocks, and every way in which a file can be bad."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from asr.audio import PcmConverter, find_audio, open_audio, read_pcm
from asr.errors import AudioFileError


def tone(seconds: float = 1.3, rate: int = 16_000, channels: int = 1) -> NDArray[np.float32]:
    time = np.arange(round(seconds * rate)) / rate
    wave = [0.4 * np.sin(2 * np.pi * 440 * (c + 1) * time) for c in range(channels)]
    return np.stack(wave, axis=1).astype(np.float32)


def read(path: Path, block_seconds: float = 0.25) -> NDArray[np.float32]:
    with open_audio(path, block_seconds) as reader:
        blocks = list(reader.blocks)
        longest = max(map(len, blocks), default=0)
        assert longest <= round(block_seconds * reader.sample_rate)
        assert all(b.dtype == np.float32 and b.shape[1] == reader.channels for b in blocks)
        return np.concatenate([np.zeros((0, reader.channels), np.float32), *blocks])


def read_to_the_error(path: Path) -> tuple[float, AudioFileError]:
    """Seconds that could be read, and what was raised after them."""
    seconds = 0.0
    with open_audio(path) as reader:
        try:
            for block in reader.blocks:
                seconds += len(block) / reader.sample_rate
        except AudioFileError as error:
            return seconds, error
    raise AssertionError(f"no error after {seconds} s")


def cut(path: Path, share: float = 0.6) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_wav_blocks_join_to_the_samples_written(
    tmp_path: Path, rate: int, channels: int, subtype: str
) -> None:
    wave = tone(rate=rate, channels=channels)
    path = tmp_path / "x.wav"
    soundfile.write(path, wave, rate, subtype=subtype)
    with open_audio(path) as reader:
        assert (reader.sample_rate, reader.channels) == (rate, channels)
        assert reader.seconds == pytest.approx(1.3)
    assert read(path) == pytest.approx(wave, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.flac", {}),
        ("x.ogg", {}),
        ("x.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("x.mp3", {}),
        ("x.aiff", {}),
    ],
)
def test_compressed_formats_keep_the_sound(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    wave = tone(rate=48_000, channels=2)
    soundfile.write(tmp_path / name, wave, 48_000, **options)
    samples = read(tmp_path / name)
    assert samples.shape == wave.shape
    assert np.corrcoef(samples[:, 0], wave[:, 0])[0, 1] > 0.9


@pytest.mark.parametrize("name", ["x.m4a", "x.webm", "x.mkv", "-dash:colon.m4a"])
def test_other_containers_are_read_through_ffmpeg(
    tmp_path: Path, ffmpeg: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    soundfile.write(tmp_path / "x.wav", tone(channels=2), 16_000)
    convert(ffmpeg, tmp_path / "x.wav", tmp_path / name)
    monkeypatch.chdir(tmp_path)  # so that a leading dash leads
    with open_audio(Path(name)) as reader:
        rate = reader.sample_rate
    samples = read(Path(name))
    assert samples.shape[1] == 2
    assert len(samples) / rate == pytest.approx(1.3, abs=0.1)
    assert np.abs(samples).max() == pytest.approx(0.4, abs=0.1)


def test_leaving_early_ends_ffmpeg(tmp_path: Path, ffmpeg: str) -> None:
    soundfile.write(tmp_path / "x.wav", tone(60), 16_000)
    convert(ffmpeg, tmp_path / "x.wav", tmp_path / "x.mkv")
    with open_audio(tmp_path / "x.mkv") as reader:
        next(reader.blocks)
    with pytest.raises(ChildProcessError):  # no child is left, not even a zombie
        os.waitpid(-1, os.WNOHANG)


def test_a_file_of_unknown_length_is_read_to_its_end(tmp_path: Path, ffmpeg: str) -> None:
    soundfile.write(tmp_path / "x.wav", tone(), 16_000)
    for name, codec in (("p.wav", "wav"), ("p.flac", "flac")):
        command = [ffmpeg, "-loglevel", "error", "-i", str(tmp_path / "x.wav"), "-f", codec, "-"]
        piped = subprocess.run(command, capture_output=True, check=True).stdout
        (tmp_path / name).write_bytes(piped)
        assert read(tmp_path / name) == pytest.approx(tone(), abs=1e-4)


def test_a_file_without_samples_has_no_blocks(tmp_path: Path) -> None:
    for name in ("x.wav", "x.aiff", "x.ogg"):
        soundfile.write(tmp_path / name, tone(0), 16_000)
        assert read(tmp_path / name).shape == (0, 1)


@pytest.mark.parametrize("name", ["x.wav", "x.aiff", "x.au", "x.flac", "x.mp3", "x.ogg"])
def test_a_truncated_file_gives_what_is_there_and_then_the_error(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    noise = 0.1 * np.random.default_rng(0).standard_normal(160_000)  # fills many Ogg pages
    soundfile.write(path, noise, 16_000)
    seconds, error = read_to_the_error(cut(path))
    assert 2 < seconds < 9
    assert error.path == path
    assert error.reason.startswith("truncated")
    assert "\n" not in error.reason
    assert capfd.readouterr().err == ""  # no C library speaks over the caller's head


def test_a_truncated_container_gives_what_is_there_and_then_the_error(
    tmp_path: Path, ffmpeg: str
) -> None:
    soundfile.write(tmp_path / "x.wav", tone(20), 16_000)
    convert(ffmpeg, tmp_path / "x.wav", tmp_path / "x.mkv")
    seconds, error = read_to_the_error(cut(tmp_path / "x.mkv"))
    assert 5 < seconds < 19
    assert error.reason.startswith("truncated")


def test_a_wav_whose_length_was_never_written_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(), 16_000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 40, 0)
    path.write_bytes(data)
    with pytest.raises(AudioFileError, match="promises no audio"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.wav", None, "no such file"),
        ("empty.wav", b"", "empty file"),
        ("text.wav", b"this is no audio\n" * 50, "not a supported audio file"),
        ("text.mp3", b"this is no audio\n" * 50, "not a supported audio file"),
        ("head.wav", b"RIFF\x24\x00", "not a supported audio file"),
        ("pcm.raw", bytes(3200), "not a supported audio file"),
        ("nul\0.wav", None, "null"),
    ],
)
@pytest.mark.parametrize("with_ffmpeg", [True, False])
def test_what_is_no_audio_is_named_with_its_cause(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    reason: str,
    with_ffmpeg: bool,
) -> None:
    if not with_ffmpeg:
        monkeypatch.setattr("asr.audio.find_ffmpeg", lambda: None)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioFileError, match=reason) as caught, open_audio(tmp_path / name):
        pass
    assert caught.value.path == tmp_path / name
    assert "\n" not in caught.value.reason
    assert capfd.readouterr().err == ""


def test_directories_pipes_and_devices_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for path, reason in ((tmp_path, "a directory"), (tmp_path / "pipe.wav", "not a regular file")):
        with pytest.raises(AudioFileError, match=reason), open_audio(path):
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(), 16_000)
    path.chmod(0)
    with pytest.raises(AudioFileError, match="permission denied"), open_audio(path):
        pass


def test_a_video_without_sound_is_an_error(tmp_path: Path, ffmpeg: str) -> None:
    red = ["-f", "lavfi", "-i", "color=c=red:s=16x16:d=1"]
    command = [ffmpeg, "-loglevel", "error", *red, str(tmp_path / "x.mkv")]
    subprocess.run(command, check=True)
    with pytest.raises(AudioFileError, match="no audio track"), open_audio(tmp_path / "x.mkv"):
        pass


@given(st.binary(max_size=400), st.lists(st.integers(0, 60)), st.integers(1, 3))
def test_packet_sizes_of_pcm_do_not_matter(data: bytes, cuts: list[int], channels: int) -> None:
    converter, blocks, rest = PcmConverter(channels), [], data
    for size in [*cuts, len(data)]:
        blocks.append(converter.push(rest[:size]))
        rest = rest[size:]
    samples = np.concatenate(blocks)
    whole = len(data) - len(data) % (2 * channels)
    expected = np.frombuffer(data[:whole], "<i2").reshape(-1, channels) / 32768
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, expected.astype(np.float32))


def test_pcm_is_read_in_blocks_and_an_odd_last_byte_is_dropped() -> None:
    reader = read_pcm(io.BytesIO(bytes(32_001)), 16_000, block_seconds=0.3)
    assert [len(block) for block in reader.blocks] == [4800, 4800, 4800, 1600]


def test_pcm_does_not_wait_for_a_full_block() -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as stream, os.fdopen(write_end, "wb", 0) as writer:
        reader = read_pcm(stream, 16_000)
        writer.write(bytes(321))
        assert len(next(reader.blocks)) == 160


def test_folders_are_searched_sorted_and_without_the_hidden(tmp_path: Path) -> None:
    for name in ("b/2.WAV", "b/1.flac", "a.opus", ".hidden.wav", ".git/x.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in find_audio(tmp_path)]
    assert found == ["a.opus", "b/1.flac", "b/2.WAV"]


def test_a_folder_without_audio_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(AudioFileError, match="no audio files"):
        find_audio(tmp_path)


@pytest.fixture
def ffmpeg() -> str:
    program = shutil.which("ffmpeg")
    if program is None:
        assert os.environ.get("CI") != "true", "ffmpeg is missing"
        pytest.skip("there is no ffmpeg")
    return program


def convert(ffmpeg: str, source: Path, target: Path) -> None:
    command = [ffmpeg, "-nostdin", "-loglevel", "error", "-i", str(source), f"file:{target}"]
    subprocess.run(command, check=True)
