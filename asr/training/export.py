"""Make a model bundle of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from asr import schema
from asr.bundle import save_bundle
from asr.features import FeatureConfig, FeatureExtractor
from asr.model import AcousticModel, ModelConfig
from asr.vocabulary import Vocabulary

from . import checkpoint


def export(source: Path, target: Path, name: str) -> None:
    """Write the averaged weights of checkpoint `source` as a bundle into folder `target`.

    Raises BundleError for a file that is no checkpoint.
    """
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
    save_bundle(target, name, extractor, model, Vocabulary(content["vocabulary"]),
                training=training)
