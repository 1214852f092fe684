"""The daemon's configuration: what fits is read, what does not is told with its line."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asr import schema
from asr.errors import ConfigError
from service.cli import main
from service.config import ENDPOINT_MODES, DaemonConfig, EndpointingConfig
from service.config_changes import RELOADABLE, changes, reloaded
from service.config_file import default_file, field_comments, read_config
from service.output_config import (
    OutputsConfig,
    TcpConfig,
    control_path,
    is_loopback,
    read_token,
    socket_path,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds a grammar that a configuration may name."""
    (tmp_path / "home.yaml").write_text("intents: {}\n")
    return tmp_path


def read(folder: Path, text: str) -> DaemonConfig:
    path = folder / "asrd.toml"
    path.write_text(text)
    return read_config(path)


def sections(cls: Any) -> Iterator[Any]:
    yield cls
    for field in dataclasses.fields(cls):
        value = getattr(cls(), field.name)
        if dataclasses.is_dataclass(value):
            yield from sections(type(value))
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            yield from sections(type(value[0]))


def test_the_default_file_holds_the_defaults(folder: Path) -> None:
    assert read(folder, default_file()) == DaemonConfig()
    assert read(folder, "") == DaemonConfig()


def test_the_default_file_names_and_explains_every_key() -> None:
    text = default_file()
    for cls in sections(DaemonConfig):
        for field in dataclasses.fields(cls):
            if cls is not DaemonConfig and not dataclasses.is_dataclass(getattr(cls(), field.name)):
                assert re.search(rf"^(# )?{field.name} = \S", text, re.MULTILINE), field.name
                assert field_comments(cls)[field.name]
    assert max(map(len, text.splitlines())) <= 98


def test_the_examples_of_the_default_file_can_be_uncommented(folder: Path) -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", default_file(), flags=re.MULTILINE)
    text = text.replace("grammar = []  # ", "grammar = ").replace("phrases = []  # ", "phrases = ")
    config = read(folder, text)
    assert config.endpointing.rules() == ENDPOINT_MODES["normal"]
    assert config.recognition.threshold == 3.0
    assert config.wake.phrases == ("computer",)


def test_modes_differ_in_patience_and_are_overridden_value_by_value() -> None:
    silences = [ENDPOINT_MODES[mode].silence_after_speech for mode in ENDPOINT_MODES]
    assert silences == sorted(silences)
    rules = EndpointingConfig("patient", gap=0.2).rules()
    assert rules == dataclasses.replace(ENDPOINT_MODES["patient"], gap=0.2)


def test_paths_start_at_the_folder_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    config = read(folder, '[recognition]\ngrammar = ["home.yaml"]\n[keep_audio]\nfolder = "a"\n')
    assert config.recognition.grammar == (str(folder / "home.yaml"),)
    assert config.keep_audio.folder == str(folder / "a")
    assert read(folder, '[outputs]\nsocket = "off"\n').outputs.socket == "off"
    command = read(folder, '[outputs.command]\nrun = ["./home.yaml", "./x"]\n').outputs.command
    assert command.run == (str(folder / "home.yaml"), "./x")
    assert read(folder, '[outputs.command]\nrun = ["x"]\n').outputs.command.run == ("x",)
    assert read(folder, '[outputs]\ncontrol = "c"\n').outputs.control == str(folder / "c")


def test_credentials_of_the_service_need_not_be_there_for_a_check(folder: Path) -> None:
    path = "/run/credentials/asrd.service/token"
    config = read(folder, f"outputs.tcp = {{ host = '::', port = 1, token_file = '{path}' }}\n")
    assert config.outputs.tcp.token_file == path


def test_there_may_be_several_microphones_or_none(folder: Path) -> None:
    text = '[[microphones]]\nname = "a"\ndevice = "USB"\n[[microphones]]\nname = "b"\n'
    assert [m.device for m in read(folder, text).microphones] == ["USB", ""]
    assert read(folder, "microphones = []\n").microphones == ()


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("\n[endpointin]\n", 2, "unknown key 'endpointin'; did you mean 'endpointing'?"),
        ("[gate]\n\npreroll = 1\n", 3, "unknown key 'gate.preroll'; did you mean 'pre_roll'?"),
        ("[outputs]\ntoken = 'x'\n", 2,
         "unknown key 'outputs.token'; did you mean 'outputs.tcp.token'?"),
        ("[wake]\nseconds = '5'\n", 2, "wake.seconds must be a number, got '5'"),
        ("[wake]\nseconds = 0\n", 2, "seconds must be above 0 and at most 300, got 0.0"),
        ("[wake]\nphrases = ['x']\n", 2, "a wake phrase needs recognition.grammar"),
        ("[recognition]\nthreads = 0\n", 2, "threads must be at least 1, got 0"),
        ("[recognition]\nthreshold = 1\n", 2, "threshold is of no use without a grammar"),
        ("[recognition]\nmodel = 'none'\n", 2, "recognition.model: no such folder: /"),
        ("[outputs.tcp]\ntoken_file = 'none'\n", 2, "outputs.tcp.token_file: no such file: /"),
        ("[recognition]\nmodel = '~no body/x'\n", 2, "recognition.model: no such user: ~no body/x"),
        ("[recognition]\n# x\ngrammar = [\n 'home.yaml',\n 'none'\n]\n", 3,
         "recognition.grammar[1]: no such file: /"),
        ("[endpointing]\ngap = 0\n", 2, "gap must be above 0, got 0"),
        ("[endpointing]\nmode = 'snappy'\nhard_limit = 3\n", 3, "hard_limit (3.0) must not be"),
        ("[endpointing]\nmode = 'fast'\n", 2, "endpointing.mode must be one of 'snappy'"),
        ("[outputs]\ntcp.port = 70_000\n", 2, "port must be from 0 to 65535, got 70000"),
        ("[outputs]\ntcp = { host = '0.0.0.0', port = 1 }\n", 2, "host '0.0.0.0' can be reached"),
        ("[outputs.tcp]\ntoken = 'hush'\n", 2, "token is shorter than 16 characters"),
        (f"[outputs]\nsocket = '/{'x' * 200}'\n", 2, "socket must be at most 107 bytes"),
        ("[outputs]\ncontrol = ''\n", 2, "control must be a path, 'auto' or 'off', got ''"),
        ("[metrics]\nport = -1\n", 2, "port must be from 0 to 65535, got -1"),
        ("[outputs]\nstdout = true\n", 2, "outputs.stdout must be one of"),
        ("[outputs.command]\nrun = ['']\n", 2, "run must begin with a program, got ('',)"),
        ("[outputs.command]\nrun = ['./none', 'x']\n", 2, "outputs.command.run: no such file: /"),
        ("[outputs.command]\nrun = 'notify-send asrd'\n", 2, "outputs.command.run must be a list"),
        ("[outputs.command]\n\ntimeout = 0\n", 3, "timeout must be above 0 and at most 3600"),
        ("[outputs]\ncommand.concurrency = 0\n", 2, "concurrency must be from 1 to 32, got 0"),
        ("[outputs.command]\nrun = ['true']\nonly = 'understood'\n", 3,
         "without recognition.grammar nothing is understood"),
        ("[keep_audio]\nmax_mb = 0\n", 2, "max_mb must be at least 1, got 0"),
        ("[[microphones]]\nname = 'a'\n[[microphones]]\nname = 'a'\n", 4, "two microphones"),
        ("[[microphones]]\n[[microphones]]\nname = ' '\n", 3, "name must not be empty"),
        ("[[microphones]]\nrate = 1\n", 2, "unknown key 'microphones[0].rate'"),
        ("recognition = 3\n", 1, "recognition must be a table, got 3"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_file_and_line(
    folder: Path, text: str, line: int, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    assert str(caught.value).startswith(f"{folder / 'asrd.toml'}:{line}: {reason}")


@pytest.mark.parametrize("content", [b"x = [", b"\xff = 1"])
def test_what_is_no_toml_is_named(folder: Path, content: bytes) -> None:
    path = folder / "asrd.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"asrd\.toml: not valid TOML: "):
        read_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such file"):
        read_config(tmp_path / "none.toml")


def test_a_token_that_is_no_text_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe" * 20)
    with pytest.raises(ConfigError, match="token is not UTF-8 text"):
        read_token(TcpConfig(4000, token_file=str(tmp_path / "token")))


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True),
     ("localhost", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False),
     ("localhost.example.org", False), ("127.0.0.1.example.org", False)],
)  # fmt: skip
def test_an_address_that_others_reach_needs_a_token(host: str, local: bool) -> None:
    assert is_loopback(host) == local
    assert TcpConfig(4000, host, "0123456789abcdef").token
    assert TcpConfig(0, host)
    if local:
        assert TcpConfig(4000, host)
    else:
        with pytest.raises(ConfigError, match="needs a token"):
            TcpConfig(4000, host)


@pytest.mark.parametrize(
    ("socket", "environ", "path"),
    [
        ("off", {"RUNTIME_DIRECTORY": "/run/asrd"}, None),
        ("/x/y", {"RUNTIME_DIRECTORY": "/run/asrd"}, "/x/y"),
        ("auto", {"RUNTIME_DIRECTORY": "/run/asrd:/run/b"}, "/run/asrd/asrd.sock"),
        ("auto", {"XDG_RUNTIME_DIR": "/run/user/1"}, "/run/user/1/asrd/asrd.sock"),
        ("auto", {}, "/run/asrd/asrd.sock"),
    ],
)
def test_the_socket_lies_where_the_daemon_may_write(
    socket: str, environ: dict[str, str], path: str | None
) -> None:
    assert socket_path(OutputsConfig(socket=socket), environ) == (Path(path) if path else None)
    control = path and path.replace("asrd.sock", "asrd-control.sock")
    found = control_path(OutputsConfig(control=socket), environ)
    assert found == (Path(control) if control else None)


def test_a_token_may_lie_in_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")
    assert read_token(TcpConfig(1, "::", token_file=str(path))) == "0123456789abcdef"
    assert read_token(TcpConfig(1, "::", "fedcba9876543210")) == "fedcba9876543210"
    path.write_text("hush\n")
    with pytest.raises(ConfigError, match="fewer than 16 characters"):
        read_token(TcpConfig(1, "::", token_file=str(path)))


def test_a_secret_is_never_shown(folder: Path) -> None:
    old = read(folder, "[outputs.tcp]\ntoken = '0123456789abcdef'\n")
    assert "0123" not in str(changes(old, DaemonConfig()))
    with pytest.raises(ConfigError) as caught:
        read(folder, "[outputs.tcp]\ntoken = 'hush'\n")
    assert "hush" not in str(caught.value)


def test_changes_are_told_apart_by_what_they_need(folder: Path) -> None:
    new = read(
        folder,
        "[endpointing]\nmode = 'snappy'\n[recognition]\nthreads = 2\ngrammar = ['home.yaml']\n"
        "[outputs.tcp]\nport = 1\n[[microphones]]\ndevice = 'x'\n[logging]\nlevel = 'debug'\n"
        "[wake]\nphrases = ['x']\n",
    )
    found = changes(DaemonConfig(), new)
    assert found.reload == (
        "recognition.grammar", "endpointing.mode", "wake.phrases", "logging.level"
    )
    assert found.restart == ("recognition.threads", "outputs.tcp.port", "microphones")
    assert str(found) == (
        "changed: recognition.grammar, endpointing.mode, wake.phrases, logging.level; needs a "
        "restart, kept as it was: recognition.threads, outputs.tcp.port, microphones"
    )
    assert str(changes(new, new)) == "nothing changed"
    after = reloaded(DaemonConfig(), new)
    assert changes(DaemonConfig(), after).reload == found.reload
    assert changes(after, new).restart == found.restart


def test_what_can_be_reloaded_exists() -> None:
    table: Any = schema.as_table(DaemonConfig())
    for name in RELOADABLE:
        section, _, key = name.partition(".")
        assert key in table[section] if key else section in table


def test_the_default_file_goes_to_stdout_or_to_a_new_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "asrd.toml"
    assert main(["config", "init"]) == 0
    assert tomllib.loads(capsys.readouterr().out) == tomllib.loads(default_file())
    assert main(["config", "init", str(path)]) == 0
    assert main(["config", "check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: all right\n"


def test_a_file_is_overwritten_only_by_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "asrd.toml"
    path.write_text("mine")
    assert main(["config", "init", str(path)]) == 2
    assert capsys.readouterr().err == f"asrd: {path} exists; --force overwrites it\n"
    assert path.read_text() == "mine"
    assert main(["config", "init", "--force", str(path)]) == 0
    assert path.read_text() == default_file()


def test_check_fails_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "asrd.toml"
    path.write_text("[gate]\nenable = true\n")
    assert main(["config", "check", str(path)]) == 1
    reason = "unknown key 'gate.enable'; did you mean 'enabled'?"
    assert capsys.readouterr().err == f"asrd: {path}:2: {reason}\n"
