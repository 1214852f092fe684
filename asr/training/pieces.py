"""Word pieces for a model's second output: `python -m asr.training.pieces SIZE FILE MANIFEST ...`.

Pieces that are frequent in the training texts, by byte pair encoding (Sennrich et al. 2016). Texts
are cut by the longest match, see `Vocabulary.encode`.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from asr.errors import ConfigError
from asr.vocabulary import BLANK, WORD_START, Vocabulary

from .corpora import read_corpus


def read_pieces(path: Path) -> Vocabulary:
    """The pieces in a file, one a line; ConfigError if they are none."""
    try:
        return Vocabulary(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read word pieces: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def make_pieces(texts: Iterable[str], size: int) -> Vocabulary:
    """`size` tokens, blank included, of normalised texts; every letter of them is one.

    ConfigError where the texts do not hold so many.
    """
    import sentencepiece  # only training needs it

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=model, model_type="bpe",
            # unknown, start and end are no tokens here
            vocab_size=size + 2, character_coverage=1.0, normalization_rule_name="identity",
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ConfigError(f"no {size} word pieces in these texts: {error}") from error
    found = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [
        found.id_to_piece(i)
        for i in range(found.get_piece_size())
        if not (found.is_unknown(i) or found.is_control(i))
    ]
    return Vocabulary([BLANK, *pieces])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="asr.training.pieces", description=__doc__)
    parser.add_argument("size", type=int, help="tokens, with the blank")
    parser.add_argument("file", type=Path)
    parser.add_argument("manifests", nargs="+", type=Path)
    args = parser.parse_args(arguments)
    texts = [r.text for path in args.manifests for r in read_corpus(path) if r.text]
    vocabulary = make_pieces(texts, args.size)
    args.file.write_text("\n".join(vocabulary.tokens) + "\n", encoding="utf-8")
    words = sum(token.startswith(WORD_START) for token in vocabulary.tokens)
    sys.stdout.write(f"{len(vocabulary)} tokens, {words} of them at the start of a word\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
