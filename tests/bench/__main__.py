"""`make bench`: speed, memory and word errors, against their bounds; the last line is JSON.

Parts that need real speech take it from CORPUS=/path/to/corpus and are skipped without it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from asr.locations import MODEL_VARIABLE

from . import commands, daemon, decoders, endpoints, transcribe
from .measuring import Summary, corpus

PARTS = ("transcribe", "decoders", "commands", "endpoints", "daemon")


def main() -> int:
    """Print the figures; 1 if one of them misses its bound."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (all)")
    parser.add_argument("--model", metavar="DIR", help="a bundle folder (the default model)")
    parser.add_argument("--utterances", type=int, default=100, metavar="N", help="a part (100)")
    parser.add_argument("--hours", type=float, default=0.2, metavar="N", help="of the soak (0.2)")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if args.model:
        os.environ[MODEL_VARIABLE] = args.model  # the processes that we start look there too
    summary: Summary = {}
    passed = True
    for part in args.parts or PARTS:
        print(f"{part}:")
        found = run(part, args.utterances, args.hours)
        passed &= bool(found.pop("passed", True))
        summary |= found
    print(json.dumps(summary | {"passed": passed}))
    return 0 if passed else 1


def run(part: str, utterances: int, hours: float) -> Summary:
    """One part's figures."""
    if part == "transcribe":
        return transcribe.run()
    where = corpus()
    if where is None:
        print("needs CORPUS=/path/to/corpus: skipped")
        return {}
    if part == "decoders":
        return decoders.run(where, utterances)
    if part == "endpoints":
        return endpoints.run(where, utterances)
    if part == "daemon":
        return daemon.run(where, utterances, hours)
    return commands.run(where, utterances)


if __name__ == "__main__":
    sys.exit(main())
