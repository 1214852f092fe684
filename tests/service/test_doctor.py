"""`asrd doctor`: what is wrong is found and told with what to do, whatever else is missing."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from asr.errors import ConfigError
from service import doctor_system
from service.cli import main as asrd
from service.config import RecognitionConfig
from service.doctor import Doctor, Finding, find_config, guarded, speed_finding
from service.doctor_system import services, sockets
from service.output_config import OutputsConfig
from service.sources import microphone, port_audio
from tests.service.controlled import FakeDaemon
from tests.service.test_control import run, served
from tests.service.test_microphone import FakeLibrary, FakeStream


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No daemon, no systemd, no configuration."""
    monkeypatch.setattr(doctor_system, "SYSTEMD", tmp_path / "no-systemd")
    monkeypatch.setattr("service.control_client.SYSTEM_FOLDER", tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)


def use(monkeypatch: pytest.MonkeyPatch, *names: str, level: float | None = 0.3) -> None:
    """PortAudio with these devices, all of which hear `level`; None: nothing comes."""

    class Stream(FakeStream):
        def start(self) -> None:
            super().start()
            for _ in range(0 if level is None else 20):
                self.hear(level or 0.0)

    library: Any = FakeLibrary(*names)
    library.dead = 9 if level is None else 0
    library.InputStream = lambda **options: Stream(library, **options)
    monkeypatch.setattr(port_audio, "_sounddevice", lambda: library)
    monkeypatch.setattr(microphone, "UNPLUGGED_SECONDS", 0.01)


def configured(tmp_path: Path, text: str) -> Doctor:
    path = tmp_path / "asrd.toml"
    path.write_text(text)
    doctor = Doctor(path)
    assert [finding.level for finding in doctor.configuration()] == ["ok"]
    return doctor


def heard(doctor: Doctor) -> list[Finding]:
    return list(guarded("microphone", doctor.microphones))


def test_all_that_is_checked_gets_a_line(
    bundled: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, "Yeti")
    assert asrd(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines if " speed: " not in line] == [
        *("ok  ", "ok  ", "ok  ", "warn", "warn", "ok  ")
    ]
    assert [line[5:].split(":")[0] for line in lines] == [
        *("configuration", "model", "speed", "microphone microphone"),
        *("transcripts socket", "control socket", "service"),
    ]
    assert lines[1].startswith("ok   model: tones in ")


def test_programs_get_json_and_failures_a_status(
    bundled: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch)
    assert asrd(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    failed = [finding for finding in found["findings"] if finding["level"] == "FAIL"]
    assert [finding["name"] for finding in failed] == ["microphone"]
    assert failed[0]["text"].startswith("no input device: plug one in, or set microphones = []")


def test_broken_configuration_and_model_leave_the_other_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, "Yeti")
    monkeypatch.setenv("ASRD_MODEL", str(tmp_path / "none"))
    path = tmp_path / "asrd.toml"
    path.write_text("[gate]\nenable = true\n")
    assert asrd(["doctor", "--config", str(path)]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[:4] == [
        f"FAIL configuration: {path}:2: unknown key 'gate.enable'; did you mean 'enabled'?",
        f"FAIL model: {tmp_path}/none: no such model folder",
        "warn speed: not measured without a model",
        "ok   microphone microphone: Yeti at 16000 Hz, peak -10 dB",
    ]
    assert err == ""


def test_a_grammar_that_keeps_the_daemon_from_starting_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, "Yeti")
    grammar = tmp_path / "home.yaml"
    grammar.write_text("intents: {On: {data: [{sentences: ['turn on {lamp}']}]}}\n")
    path = tmp_path / "asrd.toml"
    path.write_text(f'[recognition]\ngrammar = ["{grammar}"]\n')
    assert asrd(["doctor", "--config", str(path)]) == 1
    assert f"FAIL model: {grammar}:1: unknown list {{lamp}}" in capsys.readouterr().out


def test_the_configuration_of_the_user_is_found(tmp_path: Path) -> None:
    path = tmp_path / "config/asrd/asrd.toml"
    path.parent.mkdir(parents=True)
    path.touch()
    assert find_config() == path


@pytest.mark.parametrize(
    ("level", "verdict", "reason"),
    [(0.3, "ok", "peak -10 dB"), (0.0, "warn", "silent"), (1.0, "warn", "clipping"),
     (None, "FAIL", "gives no audio")],
)  # fmt: skip
def test_a_microphone_is_listened_to(
    monkeypatch: pytest.MonkeyPatch, level: float | None, verdict: str, reason: str
) -> None:
    use(monkeypatch, "Yeti", level=level)
    (finding,) = heard(Doctor())
    assert finding.level == verdict
    assert reason in finding.text


def test_each_configured_microphone_is_found_or_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, "Yeti")
    text = '[[microphones]]\nname = "a"\ndevice = "Webcam"\n[[microphones]]\nname = "b"\n'
    first, second = heard(configured(tmp_path, text))
    assert (first.level, first.name) == ("FAIL", "microphone a")
    assert first.text.startswith("no microphone like 'Webcam'; asrd devices lists")
    assert (second.level, second.name) == ("ok", "microphone b")
    (none,) = heard(configured(tmp_path, "microphones = []\n"))
    assert none == Finding("ok", "microphone", "none is configured")


def test_without_portaudio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise ConfigError("PortAudio is missing: apt install libportaudio2")

    monkeypatch.setattr(port_audio, "_sounddevice", missing)
    (finding,) = heard(Doctor())
    assert finding == Finding(
        "FAIL", "microphone", "PortAudio is missing: apt install libportaudio2"
    )
    monkeypatch.setattr("service.doctor.find_spec", lambda _: None)
    (finding,) = heard(Doctor())
    assert finding.level == "warn"
    assert "pip install 'asrd[mic]'" in finding.text


@pytest.mark.parametrize(
    ("rtf", "cpu", "threads", "level", "reason"),
    [
        (0.05, 0.05, 1, "ok", "0.050 with recognition.threads = 1 on 2 CPU cores"),
        (0.05, 0.05, 4, "warn", "more threads than cores"),
        (0.7, 0.7, 1, "warn", "one stream is all"), (1.2, 1.2, 1, "FAIL", "too slow"),
        (1.2, 0.1, 1, "warn", "busy with something else"),
    ],
)  # fmt: skip
def test_speed_is_judged(rtf: float, cpu: float, threads: int, level: str, reason: str) -> None:
    finding = speed_finding(RecognitionConfig(threads=threads), rtf, cpu, cores=2)
    assert finding.level == level
    assert reason in finding.text


def only_control(path: Path | str) -> Finding:
    found, control = sockets(OutputsConfig(socket="off", control=str(path)))
    assert found == Finding("ok", "transcripts socket", "off in the configuration")
    return control


def test_a_served_socket_names_its_server_and_group(tmp_path: Path) -> None:
    path = tmp_path / "asrd-control.sock"

    async def main() -> None:
        async with served(FakeDaemon(), path):
            found = await asyncio.to_thread(only_control, "auto")
            assert found.level == "ok"
            assert f"{path} (mode 660, group " in found.text
            assert f"(process {os.getpid()})" in found.text
            await asyncio.to_thread(path.chmod, 0o666)
            found = await asyncio.to_thread(only_control, path)
            assert (found.level, "everybody may connect" in found.text) == ("warn", True)

    run(main())


def test_sockets_that_cannot_be_used_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "asrd-control.sock"
    assert only_control("auto").text == "not there: asrd is not running"
    path.touch()
    assert only_control(path).text == f"{path} is no socket: remove it"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert only_control(path) == Finding(
        "warn", "control socket", f"{path}: left behind, asrd is not running"
    )
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may do all
    found = only_control(path)
    assert found.level == "FAIL"
    assert found.text.startswith(f"{path}: permission denied; ")


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of answers: a line `scope question unit answer` each; all else is unknown."""
    answers, program = tmp_path / "answers", tmp_path / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\nscope=system\n[ $1 = --user ] && { scope=user; shift; }\n"
        f"sed -n \"s/^$scope $1 $2 //p\" {answers}\n"
    )
    program.chmod(0o755)
    answers.touch()
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(doctor_system, "SYSTEMD", tmp_path)
    return answers


@pytest.mark.parametrize(
    ("active", "enabled", "level", "advice"),
    [
        ("active", "enabled", "ok", "active, enabled"),
        ("failed", "enabled", "FAIL", "journalctl --user -u asrd -e says why"),
        ("inactive", "enabled", "warn", "systemctl --user start asrd"),
        ("activating", "enabled", "warn", "journalctl --user -u asrd -e says why"),
        ("active", "disabled", "warn", "systemctl --user enable asrd"),
    ],
)
def test_an_installed_service_is_judged(
    systemctl: Path, active: str, enabled: str, level: str, advice: str
) -> None:
    systemctl.write_text(
        f"user is-active asrd.service {active}\nuser is-enabled asrd.service {enabled}\n"
        "system is-active asrd.service inactive\nsystem is-enabled asrd.service not-found\n"
    )
    (finding,) = services()
    assert (finding.level, finding.name) == (level, "user service")
    assert advice in finding.text


def test_a_service_that_is_not_installed_is_offered(systemctl: Path) -> None:
    (finding,) = services()
    assert finding.level == "warn"
    assert "asrd install-service" in finding.text


def test_looking_does_not_start_a_daemon_that_systemd_holds_the_socket_for(
    systemctl: Path, tmp_path: Path
) -> None:
    systemctl.write_text(
        "system is-active asrd-control.socket active\n"
        "system is-enabled asrd-control.socket enabled\n"
        "system is-active asrd.service inactive\nsystem is-enabled asrd.service enabled\n"
    )
    path = tmp_path / "asrd-control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen()
        finding = only_control(path)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert finding.level == "ok"
    assert finding.text.endswith("held by systemd, the first client starts asrd")
