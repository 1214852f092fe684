"""flashlight-text's lexicon decoder, in C++, over the same log-probs and the same n-grams."""

from __future__ import annotations

import importlib.util
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.decoding.decoders import SearchConfig
from asr.decoding.lm.arpa import write_arpa
from asr.decoding.lm.language_model import LanguageModel
from asr.vocabulary import BLANK_ID, WORD_START, Vocabulary

CANNOT = """\
flashlight-text cannot: say which part of a partial is stable (it streams, but prunes its history
by a fixed look-back), spell out a word that its lexicon lacks, search a grammar or boost phrases"""


def is_installed() -> bool:
    """Whether the wheel is there."""
    return importlib.util.find_spec("flashlight") is not None


class Peer:
    """One lexicon and model for searches of several widths."""

    def __init__(self, model: LanguageModel, vocabulary: Vocabulary) -> None:
        from flashlight.lib.text.decoder import SmearingMode, Trie
        from flashlight.lib.text.decoder.kenlm import KenLM
        from flashlight.lib.text.dictionary import Dictionary

        self._words, spellings = Dictionary(), {}
        boundary = vocabulary.tokens.index(WORD_START)
        for word in model.words[3:]:
            try:
                spellings[word] = [*vocabulary.encode(word), boundary]
            except ValueError:
                continue
            self._words.add_entry(word)
        self._words.add_entry("<unk>")
        self._words.set_default_index(self._words.get_index("<unk>"))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "language.arpa"
            write_arpa(model.to_ngrams(), path)
            self._model = KenLM(str(path), self._words)
        self._trie = Trie(len(vocabulary), boundary)
        start = self._model.start(False)
        for word, tokens in spellings.items():
            index = self._words.get_index(word)
            self._trie.insert(tokens, index, self._model.score(start, index)[1])
        self._trie.smear(SmearingMode.MAX)
        self._boundary = boundary

    def decode(
        self, matrices: Sequence[NDArray[np.float32]], config: SearchConfig
    ) -> list[str]:
        """Texts of log-probs that `with_boundary` has ended."""
        from flashlight.lib.text.decoder import (
            CriterionType,
            LexiconDecoder,
            LexiconDecoderOptions,
        )

        options = LexiconDecoderOptions(
            beam_size=config.beam.beam,
            beam_size_token=config.beam.top_k + 1,  # the blank counts
            beam_threshold=config.beam.beam_threshold,
            lm_weight=config.words.lm_weight * math.log(10),  # KenLM's logarithms are to base 10
            word_score=config.words.word_bonus,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=config.beam.total,
            criterion_type=CriterionType.CTC,
        )
        unknown = self._words.get_index("<unk>")
        decoder = LexiconDecoder(
            options, self._trie, self._model, self._boundary, BLANK_ID, unknown, [], False
        )
        texts = []
        for matrix in matrices:
            best = decoder.decode(matrix.ctypes.data, *matrix.shape)[0]
            texts.append(" ".join(self._words.get_entry(i) for i in best.words if i >= 0))
        return texts

    def with_boundary(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-probs and a sure boundary: the lexicon's words end in one, recordings do not."""
        last = np.full((1, matrix.shape[1]), -30, np.float32)
        last[0, self._boundary] = 0
        return np.ascontiguousarray(np.concatenate((matrix, last)))
