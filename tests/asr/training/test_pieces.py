"""Word pieces as a second output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from asr.bundle import load_recognizer
from asr.decoding.greedy import GreedyDecoder
from asr.errors import BundleError, ConfigError
from asr.training.config import LossConfig, TrainConfig
from asr.training.export import export
from asr.training.pieces import main, make_pieces, read_pieces
from asr.training.scoring import score
from asr.training.trainer import Trainer
from asr.vocabulary import BLANK, LETTERS, WORD_START

from .conftest import TEXTS, spell

pytest.importorskip("sentencepiece")

Make = Callable[..., TrainConfig]


@pytest.fixture
def pieces(manifest: Path, tmp_path: Path) -> Path:
    """Twenty-eight pieces of the four texts."""
    path = tmp_path / "pieces.txt"
    assert main(["28", str(path), str(manifest)]) == 0
    return path


def with_pieces(config: TrainConfig, pieces: Path) -> TrainConfig:
    return replace(config, data=replace(config.data, pieces=str(pieces)))


def test_frequent_parts_of_words_become_pieces() -> None:
    texts = ["the other mother", "the father", "another brother"] * 5
    vocabulary = make_pieces(texts, 24)
    assert len(vocabulary) == 24
    assert vocabulary.tokens[0] == BLANK
    assert f"{WORD_START}the" in vocabulary.tokens
    assert "other" in vocabulary.tokens
    assert set("theoramfbn") <= set(vocabulary.tokens)
    assert vocabulary.decode(vocabulary.encode("the mother other")) == "the mother other"


def test_too_many_pieces_for_few_texts_are_told() -> None:
    with pytest.raises(ConfigError, match="no 900 word pieces in these texts"):
        make_pieces(["one two"], 900)


@pytest.mark.parametrize("content", ["a\nb\n", f"{BLANK}\na\na\n"])
def test_a_file_that_holds_no_pieces_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pieces.txt"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"pieces\.txt: "):
        read_pieces(path)
    with pytest.raises(ConfigError, match=r"nothing\.txt: cannot read word pieces"):
        read_pieces(tmp_path / "nothing.txt")


def test_an_exported_run_writes_pieces_and_letters(
    make_config: Make, pieces: Path, tmp_path: Path
) -> None:
    config = make_config(loss=LossConfig(piece_weight=1.0), run={"steps": 320})
    trainer = Trainer(with_pieces(config, pieces))
    for _ in range(320):
        trainer.train_step()
    trainer.save("last.pt")
    export(tmp_path / "run" / "last.pt", tmp_path / "bundle", "tones")
    recognizer = load_recognizer(tmp_path / "bundle")
    for decoder in (recognizer.decoder, GreedyDecoder()):
        session = recognizer.new_session(16_000, decoder=decoder)
        session.accept(spell(TEXTS[0]))
        session.finish()
        while session.ready:
            recognizer.step([session])
        assert session.hypothesis().pieces is decoder.pieces
        assert session.transcript().text == TEXTS[0]
    found = score(
        trainer.averaged_model(), trainer.extractor, trainer.train_set, trainer.vocabulary,
        trainer.pieces,
    )
    assert found.texts == list(TEXTS)
    assert (found.wer, found.cer) == (0.0, 0.0)


def test_a_warm_start_takes_the_pieces_of_the_bundle_or_begins_them(
    make_config: Make, pieces: Path, tmp_path: Path
) -> None:
    plain = make_config()
    Trainer(plain).save("last.pt")
    export(tmp_path / "run" / "last.pt", tmp_path / "plain", "plain")

    def start(folder: str, output: str, data: Path) -> Trainer:
        run = replace(plain.run, start_from=str(tmp_path / folder), output=str(tmp_path / output))
        return Trainer(with_pieces(replace(plain, run=run), data))

    begun = start("plain", "second", pieces)
    begun.save("last.pt")
    export(tmp_path / "second" / "last.pt", tmp_path / "written", "written")
    again = start("written", "third", pieces)
    for name, value in again.objective.model.state_dict().items():
        assert torch.equal(value, begun.objective.model.state_dict()[name].half().float()), name
    other = tmp_path / "other.txt"
    other.write_text("\n".join(sorted(pieces.read_text().split())) + "\n")
    with pytest.raises(BundleError, match=r"other word pieces than data\.pieces has"):
        start("written", "fourth", other)


def test_a_run_may_take_up_pieces_on_the_way_and_not_change_them(
    make_config: Make, pieces: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config()
    plain = Trainer(config)
    plain.train_step()
    plain.save("last.pt")
    added = Trainer(with_pieces(config, pieces))
    assert "the optimiser begins afresh" in caplog.text
    assert added.step == 1
    for name, value in plain.objective.model.state_dict().items():
        assert torch.equal(value, added.objective.model.state_dict()[name])
    added.train_step()
    added.save("last.pt")
    again = Trainer(with_pieces(config, pieces))
    assert again.step == 2
    assert torch.equal(again.objective.model.pieces.weight, added.objective.model.pieces.weight)
    lines = pieces.read_text().splitlines()
    pieces.write_text("\n".join([*lines[:-2], lines[-1], lines[-2]]) + "\n")
    with pytest.raises(BundleError, match="other word pieces"):
        Trainer(with_pieces(config, pieces))
    with pytest.raises(BundleError, match="another shape"):
        Trainer(config)


def test_letters_are_pieces_too(pieces: Path) -> None:
    vocabulary = read_pieces(pieces)
    known = {c for text in TEXTS for c in text if c in LETTERS}
    assert known <= set(vocabulary.tokens)
