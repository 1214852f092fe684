"""`asrd grammar check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr.errors import GrammarError
from service.cli import main

LIGHTS = """
intents:
  On: {data: [{sentences: ["turn [the] {lamp} on"]}]}
lists: {lamp: {values: [desk lamp, floor lamp, 客厅]}}
"""


@pytest.fixture
def lights(tmp_path: Path) -> Path:
    path = tmp_path / "lights.yaml"
    path.write_text(LIGHTS)
    return path


def test_check_counts_and_shows_samples(
    lights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.locations.DEFAULT_MODEL", "none")  # and so no word list
    monkeypatch.delenv("ASRD_MODEL", raising=False)
    assert main(["grammar", "check", str(lights)]) == 0
    out = capsys.readouterr().out
    assert "sentences: 4\n" in out
    assert "turn the desk lamp on" in out
    assert f"warning: {lights}:4: value" in out
    assert "unknown words" not in out


def test_check_lists_words_that_the_lexicon_lacks(
    lights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lexicon = tmp_path / "words.txt"
    lexicon.write_text("Turn 12\nthe\non\n\nlamp\n")
    assert main(["grammar", "check", str(lights), "--lexicon", str(lexicon), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["unknown_words"] == ["desk", "floor"]
    assert result["grammars"] == ["lights"]
    assert result["sentences"] == len(result["samples"]) == 4


def test_check_adds_names_and_context(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grammar, names = tmp_path / "g.yaml", tmp_path / "n.yaml"
    grammar.write_text(
        "intents: {On: {data: [{sentences: ['{name} on'], requires_context: {area: kitchen}}]}}"
    )
    names.write_text("lists: {name: {values: [fan]}}")
    command = ["grammar", "check", str(grammar), "--names", str(names)]
    assert main([*command, "--context", "area=kitchen"]) == 0
    assert "fan on" in capsys.readouterr().out
    assert main(command) == 1
    with pytest.raises(SystemExit):
        main([*command, "--context", "kitchen"])


def test_check_tells_mistakes_with_their_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(LIGHTS.replace("{lamp}", "{lmap}"))
    assert main(["grammar", "check", str(path)]) == 1
    error = capsys.readouterr().err
    assert error == f"asrd: {path}:3: unknown list {{lmap}}; did you mean 'lamp'?\n"


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_debug_may_stand_anywhere(tmp_path: Path, place: int) -> None:
    arguments = ["grammar", "check", str(tmp_path / "none.yaml")]
    arguments.insert(place, "--debug")
    with pytest.raises(GrammarError):
        main(arguments)
