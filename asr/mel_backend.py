"""Import torchaudio's transforms, also where its compiled extension does not load.

The torchaudio wheel on the package index is linked against CUDA. Beside a CPU-only torch
its import raises OSError (libc10_cuda.so, libtorch_cuda.so). Nothing that asrd uses needs
the extension, so a stand-in module takes its place; the plain import is tried first.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def _unavailable(function: Any) -> Any:
    """What torchaudio does to functions whose extension is missing: keep them importable."""
    return function


def _register_stand_in() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        del sys.modules[name]  # remains of the failed import
    stand_in = ModuleType("torchaudio._extension")
    stand_in.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _IS_RIR_AVAILABLE=False,
        fail_if_no_align=_unavailable,
        fail_if_no_rir=_unavailable,
        _check_cuda_version=lambda: None,
    )
    sys.modules["torchaudio._extension"] = stand_in


try:
    from torchaudio.transforms import MelSpectrogram, Resample
except (OSError, ImportError):
    _register_stand_in()
    from torchaudio.transforms import MelSpectrogram, Resample

__all__ = ["MelSpectrogram", "Resample"]
