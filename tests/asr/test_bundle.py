"""A bundle comes back as it was written; anything wrong with one is named by its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from asr import bundle as bundles
from asr.bundle import (
    MANIFEST,
    PIECES,
    VOCABULARY,
    WEIGHTS,
    load_bundle,
    load_recognizer,
    save_bundle,
)
from asr.decoding.commands import CommandDecoder
from asr.decoding.grammar import load_grammar
from asr.errors import BundleError, ConfigError
from asr.features import FeatureConfig, FeatureExtractor
from asr.model import AcousticModel, ModelConfig
from asr.vocabulary import Vocabulary
from tests.equivalence import CELLS, assert_same, babble, babbler, recording, streamed, whole

Edit = Callable[[dict[str, Any]], object]


def write(path: Path, cell: str = "lstm") -> Path:
    recognizer = babbler(cell, "look-ahead")
    save_bundle(
        path, "babble", recognizer.extractor, recognizer.model, recognizer.vocabulary,
        training={"steps": 0},
    )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "model")


def edit_manifest(folder: Path, edit: Edit) -> None:
    table = json.loads((folder / MANIFEST).read_text())
    edit(table)
    (folder / MANIFEST).write_text(json.dumps(table))


def sign(folder: Path) -> None:
    """Make the checksums fit the files."""
    sums = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in (WEIGHTS, VOCABULARY)}
    edit_manifest(folder, lambda table: table.update(sha256=sums))


def check_refused(folder: Path, file: str, reason: str) -> None:
    with pytest.raises(BundleError, match=reason) as caught:
        load_bundle(folder)
    assert caught.value.path == folder / file
    assert str(folder / file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cell", CELLS)
def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path, cell: str) -> None:
    original = babbler(cell, "look-ahead")
    loaded = load_bundle(write(tmp_path / "new" / "model", cell))
    assert loaded.manifest.name == "babble"
    assert loaded.manifest.training == {"steps": 0}
    assert loaded.manifest.model == original.model.config
    assert loaded.manifest.features == original.extractor.config
    assert loaded.vocabulary.tokens == original.vocabulary.tokens
    weights = loaded.model.state_dict()
    for name, expected in original.model.state_dict().items():
        assert weights[name].dtype == torch.float32
        assert torch.equal(weights[name], expected.half().float()), name
    assert torch.equal(loaded.extractor.mean, original.extractor.mean)
    assert torch.equal(loaded.extractor.std, original.extractor.std)
    assert not loaded.model.training


def test_weights_are_halves_on_disk_and_statistics_are_not(folder: Path) -> None:
    for name, tensor in load_file(folder / WEIGHTS).items():
        assert tensor.dtype == (torch.float16 if name.startswith("model.") else torch.float32)


def test_saving_again_replaces_the_bundle_and_leaves_no_parts(folder: Path) -> None:
    before = load_bundle(folder).model.state_dict()
    write(folder, "gru")
    assert load_bundle(folder).manifest.model.cell == "gru"
    write(folder)
    assert all(torch.equal(v, before[k]) for k, v in load_bundle(folder).model.state_dict().items())
    assert {path.name for path in folder.iterdir()} == {MANIFEST, WEIGHTS, VOCABULARY}


def test_a_loaded_bundle_streams_as_the_whole(folder: Path) -> None:
    recognizer, samples = recording(load_recognizer(folder)), babble(12_000)
    assert_same(streamed(recognizer, samples, (777,)), whole(recognizer, samples))


def test_the_folder_may_be_named_by_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASRD_MODEL", str(folder))
    assert load_recognizer().model.config.lookahead == 2


def test_the_chunk_length_is_an_argument(folder: Path) -> None:
    assert load_recognizer(folder, chunk_seconds=0.4).chunk_frames == 40


def test_unknown_decoders_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="unknown decoder 'best': use one of greedy"):
        load_recognizer(folder, decoder="best")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="none: no such model folder"):
        load_bundle(tmp_path / "none")


@pytest.mark.parametrize("file", [MANIFEST, WEIGHTS, VOCABULARY])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    check_refused(folder, file, "No such file")


@pytest.mark.parametrize("file", [WEIGHTS, VOCABULARY])
def test_a_changed_byte_is_noticed(folder: Path, file: str) -> None:
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(data)
    check_refused(folder, file, "checksum does not match")


@pytest.mark.parametrize("file", [WEIGHTS, VOCABULARY])
def test_a_file_without_checksum_is_refused(folder: Path, file: str) -> None:
    edit_manifest(folder, lambda table: table["sha256"].pop(file))
    check_refused(folder, file, "checksum")


@pytest.mark.parametrize("file", [MANIFEST, WEIGHTS])
def test_huge_files_are_refused_unread(
    folder: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "MAX_FILE_BYTES", (folder / file).stat().st_size - 1)
    check_refused(folder, file, "larger than")


@pytest.mark.parametrize(
    "text", ["", "{", "model", '{"format": ', "[" * 100_000], ids=range(5)
)
def test_a_manifest_that_is_not_json_is_named(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    check_refused(folder, MANIFEST, "not JSON")


def test_a_binary_manifest_is_named(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"\xff\xfe\x00\xd8")
    check_refused(folder, MANIFEST, "not JSON")


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"format": "onnx", "version": 1}'])
def test_other_json_is_no_manifest(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    check_refused(folder, MANIFEST, "not the manifest of an asrd-model")


EDITS: dict[str, tuple[Edit, str]] = {
    "version": (lambda t: t.update(version=2), "format version 2, this asrd reads version 1"),
    "no version": (lambda t: t.pop("version"), "format version None"),
    "unknown key": (lambda t: t.update(licence="x"), "unknown key 'licence'"),
    "no name": (lambda t: t.pop("name"), "missing key 'name'"),
    "type": (lambda t: t.update(features=3), "features must be a table"),
    "cell": (lambda t: t["model"].update(cell="qrnn"), "model.cell must be one of"),
    "size": (lambda t: t["model"].update(hidden_size=0), "hidden_size must be at least 1"),
    "rate": (lambda t: t["features"].update(sample_rate=0), "sample_rate"),
    "window": (lambda t: t["features"].update(hop_length=900), "hop_length"),
    # an odd number of mels makes the same weights
    "mels": (lambda t: t["model"].update(n_mels=79), "n_mels"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_manifest_that_makes_no_sense_is_named(folder: Path, edit: str) -> None:
    change, reason = EDITS[edit]
    edit_manifest(folder, change)
    check_refused(folder, MANIFEST, reason)


@pytest.mark.parametrize(
    ("changes", "tensor"),
    [
        ({"hidden_size": 32}, "model.front_end.project"),
        ({"n_layers": 1}, "'model.layers.1.*' is extra"),
        ({"n_layers": 3}, "'model.layers.2.*' is missing"),
        ({"cell": "gru"}, "model.layers.0.cell"),
        ({"conv_channels": 8}, "model.front_end"),
        ({"stack": 1}, "model.front_end.project"),
        ({"emissions": 1}, "model.output"),
        ({"lookahead": 1}, "model.row_conv.weight"),
        ({"lookahead": 0}, "'model.row_conv.weight' is extra"),
    ],
)
def test_weights_of_another_shape_are_refused(
    folder: Path, changes: dict[str, Any], tensor: str
) -> None:
    edit_manifest(folder, lambda table: table["model"].update(changes))
    check_refused(folder, WEIGHTS, tensor)


def change_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / WEIGHTS)
    sign(folder)


def test_an_extra_tensor_is_named(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.update({"model.more": torch.zeros(1)}))
    check_refused(folder, WEIGHTS, "tensor 'model.more' is extra")


def test_a_missing_tensor_is_named(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.pop("features.mean"))
    check_refused(folder, WEIGHTS, "tensor 'features.mean' is missing")


def test_a_tensor_of_another_shape_is_named(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.update({"features.std": torch.ones(40)}))
    check_refused(folder, WEIGHTS, r"'features.std' is shaped \(40,\), the manifest wants \(80,\)")


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"\xff" * 64])
def test_weights_that_are_no_safetensors_are_named(folder: Path, data: bytes) -> None:
    (folder / WEIGHTS).write_bytes(data)
    sign(folder)
    check_refused(folder, WEIGHTS, "not a safetensors file")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<blank>\na\n", "2 tokens, the model has 29"),
        (b"a\nb\n", "first token"),
        (b"", "first token"),
        (b"<blank>\na\na\n", "distinct"),
        (b"<blank>\n\xff\n", "utf-8"),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_named(folder: Path, data: bytes, reason: str) -> None:
    (folder / VOCABULARY).write_bytes(data)
    sign(folder)
    check_refused(folder, VOCABULARY, reason)


def test_statistics_survive_in_full_precision(tmp_path: Path) -> None:
    extractor = FeatureExtractor(FeatureConfig())
    torch.nn.init.normal_(extractor.mean)
    model = AcousticModel(ModelConfig(hidden_size=4, n_layers=1, conv_channels=2))
    save_bundle(tmp_path, "x", extractor, model, Vocabulary.letters())
    assert torch.equal(load_bundle(tmp_path).extractor.mean, extractor.mean)


@pytest.fixture
def of_pieces(tmp_path: Path) -> Path:
    """A bundle whose model writes word pieces, too."""
    recognizer = babbler("lstm", "word pieces")
    save_bundle(
        tmp_path / "pieces", "babble", recognizer.extractor, recognizer.model,
        recognizer.vocabulary, pieces=recognizer.pieces,
    )
    return tmp_path / "pieces"


def test_pieces_are_what_free_speech_is_read_in(of_pieces: Path) -> None:
    bundle = load_bundle(of_pieces)
    assert bundle.pieces is not None
    assert bundle.pieces.tokens == babbler("lstm", "word pieces").pieces.tokens  # type: ignore[union-attr]
    assert bundle.decoder("greedy").pieces
    assert bundle.decoder("beam").pieces
    recognizer, samples = recording(load_recognizer(of_pieces)), babble(12_000)
    found = streamed(recognizer, samples, (777,))
    assert found.log_probs.shape[1] == len(bundle.pieces)
    assert_same(found, whole(recognizer, samples))


def test_a_grammar_hears_letters_beside_a_free_reading_of_pieces(of_pieces: Path) -> None:
    bundle = load_bundle(of_pieces)
    path = of_pieces / "stop.yaml"
    path.write_text("intents: {Stop: {data: [{sentences: [stop]}]}}\n")
    grammar = load_grammar(path, bundle.vocabulary)
    decoder = CommandDecoder(grammar, bundle.vocabulary, bundle.decoder("greedy"))
    assert decoder.pieces
    recognizer, samples = bundle.recognizer(decoder), babble(12_000)
    sessions = [recognizer.new_session(16_000, decoder=d) for d in (decoder, decoder.free)]
    for session in sessions:
        session.accept(samples)
        session.finish()
    while sessions[0].ready:
        recognizer.step(sessions)
    within, free = (session.transcript(final=True) for session in sessions)
    assert within.understood is False
    assert within.words == free.words
    assert bundle.pieces is not None
    assert free.text == bundle.pieces.decode(sessions[1].hypothesis().tokens)


def test_pieces_that_are_missing_or_do_not_fit_are_named(of_pieces: Path) -> None:
    lines = (of_pieces / PIECES).read_text().splitlines()
    (of_pieces / PIECES).write_text("\n".join(lines[:-1]) + "\n")
    check_refused(of_pieces, PIECES, "checksum does not match")
    data = (of_pieces / PIECES).read_bytes()
    edit_manifest(
        of_pieces, lambda t: t["sha256"].update({PIECES: hashlib.sha256(data).hexdigest()})
    )
    check_refused(of_pieces, PIECES, f"{len(lines) - 1} tokens, the model has {len(lines)}")
    (of_pieces / PIECES).unlink()
    check_refused(of_pieces, PIECES, "No such file")
