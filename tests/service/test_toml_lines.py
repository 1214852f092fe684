"""Every key is found in its line, whatever TOML stands around it."""

from __future__ import annotations

import tomllib

import pytest

from service.toml_lines import line_of

TEXT = '''\
# port = 1
top = "a # b [x]"

[outputs]   # a section
socket = "off"
list = [
  "a]",   # ] in a string and in a comment
  "port = 3",
]
'quoted' = 1
note = """
port = 2
[outputs.tcp]
"""
inline = { host = "x", port = 3 }
tcp.deep.port = 4

[ outputs . web ]
port = 5

[[microphones]]
name = "one"
[[microphones]]
device = "x"
name = 'two'
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("top", 2), ("outputs", 4), ("outputs.socket", 5), ("outputs.list", 6),
        ("outputs.list[1]", 6), ("outputs.quoted", 10), ("outputs.note", 11),
        ("outputs.inline.port", 15), ("outputs.tcp.deep.port", 16), ("outputs.web", 18),
        ("outputs.web.port", 19), ("outputs.web.missing", 18), ("microphones", 21),
        ("microphones[0].name", 22), ("microphones[1]", 23), ("microphones[1].name", 25),
        ("microphones[0].device", 21), ("port", None), ("missing.key", None), ("", None),
    ],
)
def test_keys_are_found_in_their_lines(key: str, line: int | None) -> None:
    tomllib.loads(TEXT)
    assert line_of(TEXT, key) == line


def test_an_empty_text_has_no_lines() -> None:
    assert line_of("", "a.b") is None
