"""Promises of parts: below their size, complete or told so, nothing outside of the target."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr.errors import ConfigError, PackError
from asr.training.parts import INDEX, PartWriter, receive, sha256

LIMIT = 200_000
FILES = {
    "big.bin": np.random.default_rng(0).bytes(700_001),
    "audio/" + "é" * 60 + "/a.opus": b"a" * 1000,
    "empty": b"",
    "fits.bin": b"b" * 150_000,
    "other.bin": b"c" * 150_000,
}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    with PartWriter(tmp_path / "parts", LIMIT) as writer:
        for name, content in FILES.items():
            writer.add(name, content)
    return tmp_path / "parts"


def check_files(folder: Path) -> None:
    found = {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*") if p.is_file() and p.name[0] != "."
    }
    assert found == FILES


def test_every_part_stays_below_the_limit(packed: Path) -> None:
    sizes = [path.stat().st_size for path in packed.iterdir()]
    assert len(sizes) > 6
    assert max(sizes) <= LIMIT


def test_parts_may_arrive_in_any_order_and_more_than_once(packed: Path, tmp_path: Path) -> None:
    arrived, target = tmp_path / "arrived", tmp_path / "out"
    arrived.mkdir()
    shutil.copy(packed / INDEX, arrived)
    parts = sorted(packed.glob("*.tar"), reverse=True)
    for i, part in enumerate(parts):
        shutil.copy(part, arrived)
        for _ in range(2):
            received = receive(arrived, target)
            assert len(received.missing) == len(parts) - 1 - i
        (arrived / part.name).unlink()
    assert received.complete
    check_files(target)


def test_what_was_unpacked_is_not_overwritten_by_the_same_parts(
    packed: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    receive(packed, target)
    (target / "big.bin").write_bytes(b"trained on")
    assert receive(packed, target).complete
    assert (target / "big.bin").read_bytes() == b"trained on"


def test_other_parts_replace_what_is_there(packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    for content in (b"new" * 100_000, None):
        if content:
            with PartWriter(tmp_path / "new", LIMIT) as writer:
                writer.add("big.bin", content)
        receive(packed, target)
        if content:
            receive(tmp_path / "new", target)
            assert (target / "big.bin").read_bytes() == content
    check_files(target)


def test_the_same_files_give_the_same_parts(packed: Path, tmp_path: Path) -> None:
    with PartWriter(tmp_path / "again", LIMIT) as writer:
        for name, content in FILES.items():
            writer.add(name, content)
    assert (packed / INDEX).read_text() == (tmp_path / "again" / INDEX).read_text()


def test_a_damaged_part_is_named_and_not_unpacked(packed: Path, tmp_path: Path) -> None:
    part = packed / "part-01.tar"
    data = bytearray(part.read_bytes())
    data[3000] ^= 1
    part.write_bytes(data)
    with pytest.raises(PackError, match=r"part-01\.tar: differs"):
        receive(packed, tmp_path / "out")
    part.unlink()
    assert receive(packed, tmp_path / "out").missing == ("part-01.tar",)


def member(name: str, **settings: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in settings.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    "info",
    [
        member("../outside", size=1),
        member("/tmp/outside-of-the-target", size=1),
        member("a/../../outside", size=1),
        member("link", type=tarfile.SYMTYPE, linkname="../outside"),
        member("device", type=tarfile.CHRTYPE),
    ],
    ids=lambda info: info.name,
)
def test_nothing_is_written_outside_of_the_target(tmp_path: Path, info: tarfile.TarInfo) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    with tarfile.open(parts / "part-00.tar", "w") as archive:
        archive.addfile(info, io.BytesIO(b"x"))
    size = (parts / "part-00.tar").stat().st_size
    part = {"name": "part-00.tar", "size": size, "sha256": sha256(parts / "part-00.tar")}
    (parts / INDEX).write_text(json.dumps({"version": 1, "parts": [part]}))
    with pytest.raises(PackError, match=r"part-00\.tar: refused"):
        receive(parts, tmp_path / "target" / "out")
    assert not list(tmp_path.rglob("outside*"))
    assert not Path("/tmp/outside-of-the-target").exists()
    assert not (tmp_path / "target" / "out" / "link").is_symlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i.update(version=2), "version 2"),
        (lambda i: i["parts"][0].update(name="../part-00.tar"), "refused"),
        (lambda i: i["split"][0].update(name="../big.bin"), "refused"),
        (lambda i: i["split"][0].update(name="/big.bin"), "refused"),
        (lambda i: i.pop("parts"), "no index"),
    ],
)
def test_an_index_that_cannot_be_trusted_is_refused(
    packed: Path, tmp_path: Path, change: Callable[[dict[str, object]], object], message: str
) -> None:
    index = json.loads((packed / INDEX).read_text())
    change(index)
    (packed / INDEX).write_text(json.dumps(index))
    with pytest.raises(PackError, match=message):
        receive(packed, tmp_path / "out")


def test_an_index_must_be_there_and_be_json(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="no index"):
        receive(tmp_path, tmp_path / "out")
    (tmp_path / INDEX).write_text("nonsense")
    with pytest.raises(PackError, match="no index of parts"):
        receive(tmp_path, tmp_path / "out")


def test_a_folder_with_other_files_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(PackError, match=r"precious\.txt"), PartWriter(tmp_path, LIMIT):
        pass
    with pytest.raises(ConfigError, match="too small"):
        PartWriter(tmp_path, 1000)
