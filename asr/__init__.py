"""Streaming speech recognition: audio samples in, transcripts out."""

from __future__ import annotations

__version__ = "0.1.0.dev0"
