"""Settings from tables: what fits is built, everything else is named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from asr import schema
from asr.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: int = 16_000
    name: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ConfigError(f"rate must not be negative, got {self.rate}")


@dataclass(frozen=True)
class Outer:
    path: str
    inner: Inner = Inner()
    share: float = 0.5
    flag: bool = False
    files: tuple[str, ...] = ()
    limit: int | None = 3
    size: int | str = 0
    levels: dict[str, float] = field(default_factory=dict)
    free: Any = None


def test_tables_become_dataclasses_and_back() -> None:
    table = {
        "path": "x", "inner": {"rate": 8_000, "name": "b"}, "share": 1, "flag": True,
        "files": ["a", "b"], "limit": None, "size": "big", "levels": {"low": 1}, "free": [1, "x"],
    }
    built = schema.build(Outer, table)
    assert built == Outer(
        "x", Inner(8_000, "b"), 1.0, True, ("a", "b"), None, "big", {"low": 1.0}, [1, "x"]
    )
    assert isinstance(built.share, float)
    assert schema.build(Outer, schema.as_table(built)) == built


def test_defaults_stand_in_for_what_is_missing() -> None:
    assert schema.build(Outer, {"path": "x"}) == Outer("x")


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({}, "missing key 'path'"),
        ({"path": "x", "sharre": 1}, "unknown key 'sharre'; did you mean 'share'?"),
        ({"path": "x", "inner": {"rat": 1}}, "unknown key 'inner.rat'; did you mean 'rate'?"),
        ({"path": "x", "zzz": 1}, "unknown key 'zzz'"),
        ({"path": 1}, "path must be a string, got 1"),
        ({"path": "x", "share": "1"}, "share must be a number, got '1'"),
        ({"path": "x", "share": True}, "share must be a number, got True"),
        ({"path": "x", "flag": 1}, "flag must be true or false, got 1"),
        ({"path": "x", "inner": 3}, "inner must be a table, got 3"),
        ({"path": "x", "inner": {"rate": 1.5}}, "inner.rate must be a whole number, got 1.5"),
        ({"path": "x", "inner": {"rate": True}}, "inner.rate must be a whole number, got True"),
        ({"path": "x", "inner": {"rate": -1}}, "rate must not be negative, got -1"),
        ({"path": "x", "inner": {"name": "c"}}, "inner.name must be one of 'a', 'b', got 'c'"),
        ({"path": "x", "files": "a"}, "files must be a list, got 'a'"),
        ({"path": "x", "files": ["a", 2]}, "files[1] must be a string, got 2"),
        ({"path": "x", "limit": "3"}, "limit must be a whole number, got '3'"),
        ({"path": "x", "size": 1.5}, "size must be a string, got 1.5"),
        ({"path": "x", "levels": [1]}, "levels must be a table, got [1]"),
        ({"path": "x", "levels": {"low": "1"}}, "levels.low must be a number, got '1'"),
    ],
)
def test_what_does_not_fit_is_named(table: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        schema.build(Outer, table)
    assert str(caught.value) == reason


def test_names_can_be_prefixed() -> None:
    with pytest.raises(ConfigError, match=r"^run\.rate must be a whole number"):
        schema.build(Inner, {"rate": "x"}, "run")


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({}, ""),
        ({"path": "x", "inner": {"rat": 1}}, "inner.rat"),
        ({"path": "x", "inner": {"rate": 1.5}}, "inner.rate"),
        ({"path": "x", "inner": {"name": "c"}}, "inner.name"),
        ({"path": "x", "inner": {"rate": -1}}, "inner"),
        ({"path": "x", "files": ["a", 2]}, "files[1]"),
    ],
)
def test_errors_carry_the_key(table: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        schema.build(Outer, table)
    assert caught.value.key == key
