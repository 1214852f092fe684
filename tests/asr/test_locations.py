"""Where models are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr import locations
from asr.errors import BundleError
from asr.locations import DEFAULT_MODEL, default_model_dir


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation without models."""
    monkeypatch.delenv("ASRD_MODEL", raising=False)
    monkeypatch.setattr(locations, "__file__", str(tmp_path / "source" / "asr" / "locations.py"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "prefix"))
    return tmp_path


def put(root: Path) -> Path:
    model = root / DEFAULT_MODEL
    model.mkdir(parents=True)
    (model / "manifest.json").touch()
    return model


def test_the_environment_comes_first(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tree / "source" / "models")
    monkeypatch.setenv("ASRD_MODEL", "/some/where")
    assert default_model_dir() == Path("/some/where")


def test_the_source_tree_comes_before_the_environment_of_python(tree: Path) -> None:
    installed = put(tree / "prefix" / "share" / "asrd" / "models")
    assert default_model_dir() == installed
    beside = put(tree / "source" / "models")
    assert default_model_dir() == beside


def test_a_folder_without_manifest_is_no_model(tree: Path) -> None:
    (tree / "source" / "models" / DEFAULT_MODEL).mkdir(parents=True)
    installed = put(tree / "prefix" / "share" / "asrd" / "models")
    assert default_model_dir() == installed


def test_without_any_model_all_places_are_listed(tree: Path) -> None:
    if Path("/usr/share/asrd/models", DEFAULT_MODEL).exists():
        pytest.skip("a model is installed in /usr/share")
    with pytest.raises(BundleError, match=DEFAULT_MODEL) as caught:
        default_model_dir()
    for place in (tree / "source", tree / "prefix", Path("/usr/share")):
        assert str(place) in str(caught.value)
