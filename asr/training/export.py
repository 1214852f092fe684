"""Make a model bundle of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from asr import schema
from asr.bundle import LANGUAGE_MODEL, MANIFEST, read_bundle_manifest, save_bundle
from asr.decoding.decoders import DECODERS
from asr.errors import ConfigError
from asr.features import FeatureConfig, FeatureExtractor
from asr.model import AcousticModel, ModelConfig
from asr.vocabulary import Vocabulary

from . import checkpoint


def export(
    source: Path, target: Path, name: str | None = None, *,
    language_model: Path | None = None, decoder: str | None = None,
) -> None:
    """Write the averaged weights of checkpoint `source` as a bundle into folder `target`.

    A bundle that is there already keeps its name, language model, decoder and search settings
    where no others are given. Raises BundleError for a file that is no checkpoint,
    and ConfigError for a decoder that would not work.
    """
    if decoder is not None and decoder not in DECODERS:
        raise ConfigError(f"unknown decoder {decoder!r}: use one of {', '.join(DECODERS)}")
    before = read_bundle_manifest(target) if (target / MANIFEST).exists() else None
    if before is not None and language_model is None and LANGUAGE_MODEL in before.sha256:
        language_model = target / LANGUAGE_MODEL
    content = checkpoint.load(source)
    config = content["config"]
    extractor = FeatureExtractor(schema.build(FeatureConfig, config["features"]))
    extractor.mean.copy_(content["mean"])
    extractor.std.copy_(content["std"])
    model = AcousticModel(schema.build(ModelConfig, config["model"]))
    averaged = config["optimizer"]["ema"] > 0
    weights = content["average" if averaged else "objective"]
    model.load_state_dict(
        {k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")}
    )
    training = {
        "steps": content["position"][0],
        "passes": content["position"][1],
        "hours_heard": round(content["hours"], 1),
        "seed": config["run"]["seed"],
    }
    if decoder == "lm" and language_model is None:
        raise ConfigError("the decoder lm needs a language model: name one")
    if decoder is None:
        decoder = before.decoder if before else "lm" if language_model else "greedy"
    save_bundle(
        target, name or (before.name if before else target.resolve().name), extractor, model,
        Vocabulary(content["vocabulary"]), training=training, decoder=decoder,
        language_model=language_model, search=before.search if before else None,
        pieces=Vocabulary(content["pieces"]) if content.get("pieces") else None,
    )
