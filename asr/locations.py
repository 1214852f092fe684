"""Where installed models are looked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .errors import BundleError

DEFAULT_MODEL = "en-small"
MODEL_VARIABLE = "ASRD_MODEL"
"""Environment variable that names a model folder."""


def default_model_dir() -> Path:
    """The model folder to use when none is named.

    $ASRD_MODEL if set; else the default model beside the source tree, below the Python
    environment, or below /usr/share. Raises BundleError listing where it looked.
    """
    if named := os.environ.get(MODEL_VARIABLE):
        return Path(named)
    roots = (
        Path(__file__).resolve().parent.parent / "models",
        Path(sys.prefix) / "share" / "asrd" / "models",
        Path("/usr/share/asrd/models"),
    )
    for root in roots:
        if (root / DEFAULT_MODEL / "manifest.json").is_file():
            return root / DEFAULT_MODEL
    looked = ", ".join(map(str, roots))
    raise BundleError(DEFAULT_MODEL, f"no such model in {looked}; name one with --model")
