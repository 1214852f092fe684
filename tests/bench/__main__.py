"""`make bench`: speed, memory and word errors, against their bounds; the last line is JSON.

Parts that need real speech take it from CORPUS=/path/to/corpus and are skipped without it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from asr.errors import AsrError
from asr.locations import MODEL_VARIABLE

from . import (
    commands,
    daemon,
    decoders,
    endpoints,
    hotwords,
    longaudio,
    nonspeech,
    robustness,
    transcribe,
)
from .measuring import Summary, corpus

PARTS = (
    "transcribe", "decoders", "commands", "hotwords", "endpoints", "daemon", "robustness",
    "nonspeech", "longaudio",
)  # fmt: skip
UTTERANCES = 100


def main() -> int:
    """Print the figures; 1 if one of them misses its bound."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (all)")
    add("--model", metavar="DIR", help="a bundle folder (the default model)")
    add("--utterances", type=int, metavar="N",
        help=f"decoders, commands: in all ({UTTERANCES}); of each set: robustness "
        f"({robustness.UTTERANCES}), longaudio ({longaudio.UTTERANCES})")  # fmt: skip
    add("--decoder", default="greedy", metavar="NAME", help="robustness, longaudio (greedy)")
    add("--minutes", type=float, default=nonspeech.MINUTES, metavar="N",
        help=f"nonspeech: of each sound; longaudio: of each stream ({nonspeech.MINUTES:g})")
    add("--hours", type=float, default=0.2, metavar="N", help="daemon: of the soak (0.2)")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if args.utterances is not None and args.utterances < 1:
        parser.error("--utterances must be at least 1")
    if not args.minutes > 0:
        parser.error("--minutes must be above 0")
    if args.model:
        os.environ[MODEL_VARIABLE] = args.model  # the processes that we start look there too
    summary: Summary = {}
    passed = True
    for part in args.parts or PARTS:
        print(f"{part}:")
        try:
            found = run(part, args)
        except AsrError as error:
            parser.error(str(error))
        passed &= bool(found.pop("passed", True))
        summary |= found
    print(json.dumps(summary | {"passed": passed}))
    return 0 if passed else 1


def run(part: str, args: argparse.Namespace) -> Summary:
    """One part's figures."""
    where = corpus()
    if part == "transcribe":
        return transcribe.run()
    if part == "nonspeech":
        return nonspeech.run(where, args.minutes)
    if where is None:
        print("needs CORPUS=/path/to/corpus: skipped")
        return {}
    if part == "robustness":
        return robustness.run(where, args.utterances or robustness.UTTERANCES, args.decoder)
    if part == "longaudio":
        return longaudio.run(
            where, args.minutes, args.utterances or longaudio.UTTERANCES, args.decoder
        )
    count = args.utterances or UTTERANCES
    if part == "decoders":
        return decoders.run(where, count)
    if part == "hotwords":
        return hotwords.run(where, count)
    if part == "endpoints":
        return endpoints.run(where, count)
    if part == "daemon":
        return daemon.run(where, count, args.hours)
    return commands.run(where, count)


if __name__ == "__main__":
    sys.exit(main())
