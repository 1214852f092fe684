"""Directions of imports, sizes and names of files."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from asr.bundle import save_bundle
from tests.equivalence import babble, babbler

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(p for package in ("asr", "service") for p in (ROOT / package).rglob("*.py"))
LINES = 310
TRAINERS = (
    "asr/training/", "service/commands/train.py", "service/commands/tune.py",
    "service/commands/export.py", "service/commands/pack.py", "service/commands/unpack.py",
)
MICROPHONE = ("service/sources/port_audio.py",)
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path, tree: ast.Module | None = None) -> set[str]:
    """Full names of all that a module imports, wherever in its code."""
    package = name_of(path).removesuffix(".py").split("/")[:-1]
    found: set[str] = set()
    for node in ast.walk(tree or ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {a.value for a in node.args if isinstance(a, ast.Constant)}  # type: ignore[misc]
    return found


def importers_of(name: str) -> set[str]:
    return {
        name_of(path)
        for path in MODULES
        if any(f"{found}.".startswith(f"{name}.") for found in imports_of(path))
    }


def test_the_reader_of_imports_sees_all_kinds() -> None:
    code = (
        "import a.b as c\nfrom .d import e\nfrom . import f\nfrom ..g import h\n"
        "def x():\n    if y:\n        from i.j import k\n    importlib.import_module('l.m')\n"
    )
    found = imports_of(ROOT / "asr" / "decoding" / "x.py", ast.parse(code))
    assert {"a.b", "asr.decoding.d.e", "asr.decoding.f", "asr.g.h", "i.j.k", "l.m"} <= found
    assert len(MODULES) > 30


def test_the_library_never_imports_the_service() -> None:
    assert not [name for name in importers_of("service") if name.startswith("asr/")]


def test_only_training_imports_training() -> None:
    assert not [name for name in importers_of("asr.training") if not name.startswith(TRAINERS)]
    assert importers_of("asr.training")


def test_only_the_microphone_imports_sounddevice() -> None:
    assert not [name for name in importers_of("sounddevice") if name not in MICROPHONE]


@pytest.mark.parametrize("name", ["threading", "asyncio", "socket", "time"])
def test_the_recogniser_knows_no_clock_thread_or_socket(name: str) -> None:
    outside = ("asr/training/", "service/")
    assert not [module for module in importers_of(name) if not module.startswith(outside)]


def test_no_module_is_too_long_to_read() -> None:
    lengths = {name_of(p): len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES}
    assert {name: count for name, count in lengths.items() if count > LINES} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [name_of(p) for p in MODULES if VAGUE & {p.stem, p.parent.name}]


def test_every_module_says_its_job_first() -> None:
    assert not [name_of(p) for p in MODULES if not ast.get_docstring(ast.parse(p.read_text()))]


FOREIGN = (
    "asr.training", "sounddevice", "aiohttp", "websockets", "wyoming", "paho", "matplotlib",
    "pyroomacoustics", "torchcodec", "uvicorn", "starlette", "http.server",
)

IMPORTS_ONLY = """
import sys
import asr
loaded = set(sys.modules)
assert not {name for name in loaded if name.split(".")[0] in ("torch", "numpy", "service")}
"""

LIBRARY = """
import sys
from pathlib import Path
import soundfile
import asr
from asr.bundle import load_recognizer
recognizer = load_recognizer(Path(sys.argv[1]))
samples, rate = soundfile.read(sys.argv[2], dtype="float32")
session = recognizer.new_session(rate)
session.accept(samples)
session.finish()
while session.ready:
    recognizer.step([session])
assert session.transcript().text
assert not {name for name in sys.modules if name.split(".")[0] == "service"}
"""

COMMAND = """
import sys
from service.cli import main
assert main(["transcribe", sys.argv[2], "--model", sys.argv[1]]) == 0
"""

REPORT = """
loaded = {name for name in sys.modules for foreign in sys.argv[3:]
          if f"{name}.".startswith(f"{foreign}.")}
sys.exit(f"imported: {sorted(loaded)}" if loaded else 0)
"""


@pytest.mark.parametrize("code", [IMPORTS_ONLY, LIBRARY, COMMAND], ids=["import", "asr", "asrd"])
def test_transcribing_imports_neither_training_nor_servers(tmp_path: Path, code: str) -> None:
    recognizer = babbler("lstm", "look-ahead")
    model, audio = tmp_path / "model", tmp_path / "x.wav"
    save_bundle(
        model, "babble", recognizer.extractor, recognizer.model, recognizer.vocabulary
    )
    soundfile.write(audio, babble(16_000), 16_000)
    done = subprocess.run(
        [sys.executable, "-c", code + REPORT, model, audio, *FOREIGN],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert bool(done.stdout.strip()) == (code == COMMAND)
