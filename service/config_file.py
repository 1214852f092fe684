"""The daemon's TOML file: reading it with lines for mistakes, and the commented default one."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rapidfuzz import process

from asr import schema
from asr.errors import ConfigError

from .config import DaemonConfig
from .toml_lines import line_of

WIDTH = 98
HEADER = """\
# Settings of the asrd daemon, with their defaults. Relative paths start at this file's folder.
# `asrd config check FILE` tells what is wrong with a changed one.
"""

_PATHS = (
    ("recognition", "model", "folder"), ("recognition", "hotwords", "file"),
    ("recognition", "grammar", "file"), ("recognition", "names", "file"),
    ("outputs.tcp", "token_file", "file"), ("outputs", "socket", ""),
    ("outputs", "control", ""),
    ("keep_audio", "folder", ""),
)  # fmt: skip
"""Section, key, and what must be there; nothing where the daemon makes it itself."""
_NO_PATHS = ("", "auto", "off")
_CREDENTIALS = "/run/credentials"
"""What systemd's LoadCredential= passes in is there for the service alone, not for a check."""


def read_config(path: Path) -> DaemonConfig:
    """The settings in a file, its paths made absolute. ConfigError naming file, line and key."""
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    try:
        schema.build(DaemonConfig, table)  # before paths: their tables may be of a wrong type
        _place(table, path.absolute().parent)
        return schema.build(DaemonConfig, table)
    except ConfigError as error:
        line = line_of(text, error.key)
        where = f"{path}:{line}" if line else str(path)
        raise ConfigError(f"{where}: {error}{_elsewhere(error)}", error.key) from error


def _elsewhere(error: ConfigError) -> str:
    """Where a key that is unknown in its section may belong."""
    message = str(error)
    if not message.startswith("unknown key") or "did you mean" in message:
        return ""
    known = {name.rpartition(".")[2]: name for name in _keys(DaemonConfig)}
    best = process.extractOne(error.key.rpartition(".")[2], list(known), score_cutoff=75)
    return f"; did you mean {known[best[0]]!r}?" if best else ""


def _keys(cls: Any, where: str = "") -> Iterator[str]:
    for field in dataclasses.fields(cls):
        value = _default(field)
        yield where + field.name
        if dataclasses.is_dataclass(value):
            yield from _keys(value, f"{where}{field.name}.")


def _place(table: dict[str, Any], folder: Path) -> None:
    """Make the paths in `table` absolute; ConfigError for one that should be there and is not."""
    for section, name, kind in _PATHS:
        place = _section(table, section)
        value = place.get(name, "")
        if isinstance(value, list):
            place[name] = [
                _absolute(item, folder, kind, f"{section}.{name}[{i}]")
                for i, item in enumerate(value)
            ]
        elif value not in _NO_PATHS:
            place[name] = _absolute(value, folder, kind, f"{section}.{name}")
    argv = _section(table, "outputs.command").get("run")
    if argv and "/" in argv[0]:  # else it is looked for in PATH
        argv[0] = _absolute(argv[0], folder, "file", "outputs.command.run")


def _absolute(value: str, folder: Path, kind: str, key: str) -> str:
    try:
        path = folder / Path(value).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{key}: no such user: {value}", key) from error
    if path.is_relative_to(_CREDENTIALS):
        return str(path)
    if (kind == "file" and not path.is_file()) or (kind == "folder" and not path.is_dir()):
        raise ConfigError(f"{key}: no such {kind}: {path}", key)
    return str(path)


def _section(table: dict[str, Any], name: str) -> dict[str, Any]:
    for part in name.split("."):
        table = table.get(part, {})
    return table


def default_file() -> str:
    """The commented file whose settings are the defaults."""
    return HEADER + "".join(_render(DaemonConfig(), ""))


def _render(value: Any, where: str) -> Iterator[str]:
    comments = field_comments(type(value))
    deeper: list[tuple[str, Any]] = []
    for field in dataclasses.fields(value):
        own = getattr(value, field.name)
        if dataclasses.is_dataclass(own):
            deeper.append((f"[{where}{field.name}]", own))
            continue
        if isinstance(own, tuple) and own and dataclasses.is_dataclass(own[0]):
            deeper.append((f"[[{where}{field.name}]]", own[0]))
            continue
        yield _comment(comments.get(field.name, ""))
        example = field.metadata.get("example")
        if own is None:
            yield f"# {field.name} = {_toml(example)}\n"
        else:
            hint = f"  # {_toml(example)}" if example is not None else ""
            yield f"{field.name} = {_toml(own)}{hint}\n"
    for header, section in deeper:
        yield f"\n{_comment(inspect.getdoc(type(section)) or '')}{header}\n"
        yield from _render(section, header.strip("[]") + ".")


def field_comments(cls: type[Any]) -> dict[str, str]:
    """The docstrings below the fields of a class, by the name of the field."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for line, below in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(line, ast.AnnAssign)
            and isinstance(line.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[line.target.id] = inspect.cleandoc(str(below.value.value))
    return found


def _comment(text: str) -> str:
    flowing = " ".join(text.split())
    return "".join(f"# {line}\n" for line in textwrap.wrap(flowing, WIDTH - 2))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}"
    return str(value)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
