"""Checkpoints that are complete or absent, never half written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from asr.errors import BundleError


def save(path: Path, content: dict[str, Any]) -> None:
    """Write to a temporary file beside `path` and rename it: readers see old or new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part{os.getpid()}")
    try:
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; tensors and plain data only, no code.

    Raises BundleError naming the file.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise BundleError(path, "no such checkpoint") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise BundleError(path, f"not a readable checkpoint ({type(error).__name__})") from error
    if not isinstance(content, dict) or "config" not in content:
        raise BundleError(path, "not a checkpoint of asrd train")
    return content
