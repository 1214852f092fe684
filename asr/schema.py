"""Build frozen dataclasses from tables (TOML, JSON), refusing what does not fit.

One strict reader for every settings file: an unknown key, a wrong type or a missing value
is a ConfigError that names the key and, if it may be a slip, the nearest valid one.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from rapidfuzz import process

from .errors import ConfigError

T = TypeVar("T")


def build(cls: type[T], table: Mapping[str, Any], where: str = "") -> T:
    """An instance of dataclass `cls` from `table`; nested dataclasses take nested tables.

    `where` prefixes the names of keys in messages. Raises ConfigError.
    """
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            best = process.extractOne(key, list(fields), score_cutoff=60)
            hint = f"; did you mean {best[0]!r}?" if best else ""
            name = _name(where, key)
            raise ConfigError(f"unknown key {name!r}{hint}", name)
    values = {
        key: _convert(hints[key], value, _name(where, key)) for key, value in table.items()
    }
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in values:
            raise ConfigError(f"missing key {_name(where, name)!r}", where)
    try:
        return cls(**values)
    except ConfigError as error:  # a check of the class itself, which cannot know `where`
        raise ConfigError(str(error), _name(where, error.key) if error.key else where) from error


def as_table(value: Any) -> dict[str, Any]:
    """The dataclass instance as nested plain tables; the inverse of `build`."""
    return dataclasses.asdict(value)


def _name(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a table, got {value!r}", where)
        return build(hint, value, where)
    if origin is Literal:
        if value in args:
            return value
        options = ", ".join(map(repr, args))
        raise ConfigError(f"{where} must be one of {options}, got {value!r}", where)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        kinds = [arg for arg in args if arg is not type(None)]
        for option in kinds[:-1]:
            try:
                return _convert(option, value, where)
            except ConfigError:
                continue
        return _convert(kinds[-1], value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, got {value!r}", where)
        return tuple(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a table, got {value!r}", where)
        return {key: _convert(args[1], item, _name(where, key)) for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is not Any and type(value) is not hint:
        raise ConfigError(f"{where} must be {_noun(hint)}, got {value!r}", where)
    return value


def _noun(hint: Any) -> str:
    nouns = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
    return nouns.get(hint, str(hint))
