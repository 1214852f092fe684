"""What a sentence of a grammar asks for: an intent and its slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

SlotValue: TypeAlias = str | int | float


@dataclass(frozen=True)
class Slot:
    """One value of a command."""

    name: str
    value: SlotValue
    """As the grammar writes it (`out`), a number for a range, else as spoken."""
    text: str
    """The words as spoken; empty for a value that the intent fixes."""


@dataclass(frozen=True)
class Interpretation:
    """What a sentence asks for."""

    intent: str
    slots: tuple[Slot, ...]
    grammar: str
    """Name of the grammar that the intent is from."""
    text: str

    def as_dict(self) -> dict[str, Any]:
        """The intent, the slots' values by name, and the grammar."""
        slots = {slot.name: slot.value for slot in self.slots}
        return {"intent": self.intent, "slots": slots, "grammar": self.grammar}
