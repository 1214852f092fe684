"""Types of command-line arguments that several commands share."""

from __future__ import annotations

import argparse


def positive_int(text: str) -> int:
    """A whole number above 0; argparse tells what is wrong otherwise."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value
