"""Command grammars in the format of Home Assistant's custom sentences."""

from .document import Document
from .grammar import Grammar, compile_grammar, load_grammar, union
from .interpretation import Interpretation, Slot
from .reading import read_document

__all__ = [
    "Document",
    "Grammar",
    "Interpretation",
    "Slot",
    "compile_grammar",
    "load_grammar",
    "read_document",
    "union",
]
