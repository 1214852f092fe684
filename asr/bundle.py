"""A model bundle: one folder that holds all a recogniser needs, and no code.

::

    manifest.json        format version, name, feature and model settings, checksums
    weights.safetensors  weights in fp16, feature statistics in fp32
    vocabulary.txt       one token a line; the first is the blank
    pieces.txt           word pieces likewise, of the model's second output; optional
    language.lm          word n-grams for the decoder "lm"; optional
    README.md            the model card
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as dump_tensors

from . import schema
from .decoding.base import Decoder
from .decoding.decoders import SearchConfig, make_decoder
from .decoding.hotwords import Hotword, read_hotwords
from .decoding.lm.language_model import LanguageModel
from .errors import BundleError, ConfigError
from .features import FeatureConfig, FeatureExtractor
from .locations import default_model_dir
from .model import AcousticModel, ModelConfig
from .streaming import DEFAULT_CHUNK_SECONDS, Recognizer
from .vocabulary import Vocabulary

FORMAT = "asrd-model"
VERSION = 1
MANIFEST, WEIGHTS, VOCABULARY = "manifest.json", "weights.safetensors", "vocabulary.txt"
PIECES = "pieces.txt"
LANGUAGE_MODEL = "language.lm"
MAX_FILE_BYTES = 1 << 30
"""A larger file is refused unread."""


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json."""

    name: str
    sha256: dict[str, str]
    """Checksum of each other file that the recogniser reads."""
    features: FeatureConfig
    model: ModelConfig
    language: str = "en"
    format: str = FORMAT
    version: int = VERSION
    decoder: str = "greedy"
    """The decoder that reads this model best."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """How the decoders that search do so."""
    training: dict[str, Any] = field(default_factory=dict)
    """Where the weights come from; for people, not read by the recogniser."""


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle."""

    manifest: Manifest
    extractor: FeatureExtractor
    model: AcousticModel
    vocabulary: Vocabulary
    path: Path
    pieces: Vocabulary | None = None

    def language_model(self) -> LanguageModel:
        """The bundle's language model; BundleError if it has none or a damaged one."""
        if LANGUAGE_MODEL not in self.manifest.sha256:
            raise BundleError(self.path, "this model holds no language model: use --decoder beam")
        _read_checked(self.path / LANGUAGE_MODEL, self.manifest)
        return LanguageModel.load(self.path / LANGUAGE_MODEL)

    @property
    def text_vocabulary(self) -> Vocabulary:
        """What free speech is read in: the word pieces, where the model writes some."""
        return self.pieces or self.vocabulary

    def decoder(self, name: str | None = None, hotwords: Sequence[Hotword] = ()) -> Decoder:
        """A decoder by its name, the bundle's best by default; see `make_decoder`."""
        return make_decoder(
            name or self.manifest.decoder, self.text_vocabulary, self.manifest.search,
            self.language_model, hotwords, pieces=self.pieces is not None,
        )

    def recognizer(
        self, decoder: Decoder, *, chunk_seconds: float = DEFAULT_CHUNK_SECONDS
    ) -> Recognizer:
        """Its network with a search, and word times corrected as tuned."""
        return Recognizer(
            self.extractor, self.model, self.vocabulary, decoder,
            chunk_seconds=chunk_seconds, timing=self.manifest.search.timing, pieces=self.pieces,
        )


def load_bundle(path: Path) -> Bundle:
    """Read and check a bundle; weights become fp32. Raises BundleError naming the file."""
    manifest = read_bundle_manifest(path)
    vocabulary = _read_vocabulary(path / VOCABULARY, manifest, manifest.model.vocab_size)
    pieces = None
    if manifest.model.pieces:
        pieces = _read_vocabulary(path / PIECES, manifest, manifest.model.pieces)
    extractor, model = FeatureExtractor(manifest.features), AcousticModel(manifest.model)
    try:
        tensors = parse_tensors(_read_checked(path / WEIGHTS, manifest))
    except SafetensorError as error:
        raise BundleError(path / WEIGHTS, f"not a safetensors file: {error}") from error
    _check_shapes(path / WEIGHTS, tensors, _tensors_of(extractor, model))
    model.load_state_dict(
        {k.removeprefix("model."): v.float() for k, v in tensors.items() if k.startswith("model.")}
    )
    # one chunk at a time, the layout that training likes is copied back at every step
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()
    extractor.mean.copy_(tensors["features.mean"])
    extractor.std.copy_(tensors["features.std"])
    return Bundle(manifest, extractor.eval(), model.eval(), vocabulary, path, pieces)


def _read_vocabulary(file: Path, manifest: Manifest, size: int) -> Vocabulary:
    try:
        vocabulary = Vocabulary(_read_checked(file, manifest).decode().splitlines())
    except (ConfigError, UnicodeDecodeError) as error:
        raise BundleError(file, str(error)) from error
    if len(vocabulary) != size:
        raise BundleError(file, f"{len(vocabulary)} tokens, the model has {size}")
    return vocabulary


def save_bundle(
    path: Path, name: str, extractor: FeatureExtractor, model: AcousticModel,
    vocabulary: Vocabulary, *, training: dict[str, Any] | None = None, decoder: str = "greedy",
    language_model: Path | None = None, search: SearchConfig | None = None,
    pieces: Vocabulary | None = None,
) -> None:
    """Write a bundle folder; each file is complete or absent, the manifest comes last.

    `language_model` is a file of `LanguageModel.save`.
    """
    tensors = {
        key: tensor.half() if key.startswith("model.") else tensor.float()
        for key, tensor in _tensors_of(extractor, model).items()
    }
    files = {
        WEIGHTS: dump_tensors({k: v.detach().cpu().contiguous() for k, v in tensors.items()}),
        VOCABULARY: ("\n".join(vocabulary.tokens) + "\n").encode(),
    }
    if pieces is not None:
        files[PIECES] = ("\n".join(pieces.tokens) + "\n").encode()
    if language_model is not None:
        files[LANGUAGE_MODEL] = _read(language_model)
    manifest = Manifest(
        name=name,
        sha256={file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
        features=extractor.config,
        model=model.config,
        decoder=decoder,
        search=search or SearchConfig(),
        training=training or {},
    )
    path.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        _write(path / file, data)
    _write_manifest(path, manifest)


def write_search(path: Path, search: SearchConfig) -> None:
    """Replace the search settings of a bundle; BundleError if it is none."""
    _write_manifest(path, replace(read_bundle_manifest(path), search=search))


def load_recognizer(
    path: Path | None = None,
    *,
    decoder: str | None = None,
    hotwords: Path | None = None,
    chunk_seconds: float = DEFAULT_CHUNK_SECONDS,
) -> Recognizer:
    """A recogniser from a bundle folder; the default model if `path` is None.

    `decoder` overrides the bundle's best; `hotwords` is a file for `read_hotwords`. Raises
    BundleError, HotwordError, or ConfigError for a decoder that is unknown or searches nothing.
    """
    bundle = load_bundle(path if path is not None else default_model_dir())
    phrases = read_hotwords(hotwords, bundle.text_vocabulary) if hotwords is not None else ()
    return bundle.recognizer(bundle.decoder(decoder, phrases), chunk_seconds=chunk_seconds)


def _write_manifest(path: Path, manifest: Manifest) -> None:
    text = json.dumps(schema.as_table(manifest), indent=2) + "\n"
    _write(path / MANIFEST, text.encode())


def _write(file: Path, data: bytes) -> None:
    part = file.with_name(f"{file.name}.part")
    part.write_bytes(data)
    part.replace(file)


def _tensors_of(extractor: FeatureExtractor, model: AcousticModel) -> dict[str, torch.Tensor]:
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    return tensors | {"features.mean": extractor.mean, "features.std": extractor.std}


def read_bundle_manifest(path: Path) -> Manifest:
    """The manifest of a bundle folder; BundleError naming the file."""
    file = path / MANIFEST
    if not path.is_dir():
        raise BundleError(path, "no such model folder")
    try:
        table = json.loads(_read(file))
    except (ValueError, RecursionError) as error:
        raise BundleError(file, f"not JSON: {error}") from error
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise BundleError(file, f"not the manifest of an {FORMAT}")
    if table.get("version") != VERSION:
        reason = f"format version {table.get('version')!r}, this asrd reads version {VERSION}"
        raise BundleError(file, reason)
    try:
        manifest = schema.build(Manifest, table)
    except ConfigError as error:
        raise BundleError(file, str(error)) from error
    if manifest.model.n_mels != manifest.features.n_mels:  # shapes of weights may hide it
        reason = f"model.n_mels is not the {manifest.features.n_mels} of the features"
        raise BundleError(file, reason)
    return manifest


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise BundleError(file, f"larger than {MAX_FILE_BYTES} bytes")
        return file.read_bytes()
    except OSError as error:
        raise BundleError(file, error.strerror or "cannot be read") from error


def _read_checked(file: Path, manifest: Manifest) -> bytes:
    data = _read(file)
    if hashlib.sha256(data).hexdigest() != manifest.sha256.get(file.name):
        raise BundleError(file, "checksum does not match the manifest; fetch the model anew")
    return data


def _check_shapes(
    file: Path, found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]
) -> None:
    for key in sorted(found.keys() | wanted.keys()):
        if key not in found or key not in wanted:
            raise BundleError(file, f"tensor {key!r} is {'missing' if key in wanted else 'extra'}")
        if found[key].shape != wanted[key].shape:
            shapes = f"{tuple(found[key].shape)}, the manifest wants {tuple(wanted[key].shape)}"
            raise BundleError(file, f"tensor {key!r} is shaped {shapes}")
