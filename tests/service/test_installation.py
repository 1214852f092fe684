"""The units: clean for systemd's own checks, installed with the right program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli import main
from service.config_file import read_config
from service.errors import InstallError
from service.installation import unit_folder, with_program

MAX_EXPOSURE = 2.0


@pytest.fixture
def analyze(tmp_path: Path) -> str:
    """Path of systemd-analyze."""
    found = shutil.which("systemd-analyze")
    if found is None:
        missing = "systemd-analyze is not installed (Debian: systemd)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The asrd beside the running interpreter, in a place that services can see."""
    path = tmp_path / "venv" / "bin" / "asrd"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path.with_name("python")))
    monkeypatch.setattr("service.installation._HIDDEN", ("/home/nobody",))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return path


@pytest.fixture
def system_units(program: Path, tmp_path: Path) -> Path:
    """The folder of the units as installed for the system."""
    assert main(["install-service", "--prefix", str(tmp_path / "root")]) == 0
    return tmp_path / "root/etc/systemd/system"


@pytest.fixture
def user_units(program: Path, tmp_path: Path) -> Path:
    """The folder of the units as installed for a user."""
    prefix = tmp_path / "root"
    assert main(["install-service", "--user", "--prefix", str(prefix)]) == 0
    return prefix / (tmp_path / "config/systemd/user").relative_to("/")


def exec_starts(unit: Path) -> list[str]:
    return re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)


def test_the_units_are_clean(analyze: str, system_units: Path) -> None:
    units = [system_units / f"asrd{name}" for name in (".service", ".socket", "-control.socket")]
    done = subprocess.run(
        [analyze, "verify", *units], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_of_a_session_is_clean(analyze: str, user_units: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [analyze, "--user", "verify", user_units / "asrd.service",
         user_units / "asrd-control.socket"],
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_system_unit_is_hardly_exposed(analyze: str, system_units: Path) -> None:
    done = subprocess.run(
        [analyze, "security", "--offline=yes", "--no-pager", system_units / "asrd.service"],
        capture_output=True, text=True, timeout=60, check=False,
    )
    found = re.search(r"Overall exposure level for asrd\.service: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= MAX_EXPOSURE


def test_the_program_is_that_of_the_running_interpreter(
    program: Path, system_units: Path, user_units: Path
) -> None:
    assert exec_starts(system_units / "asrd.service") == [
        f"{program} run --config /etc/asrd/asrd.toml"
    ]
    assert exec_starts(user_units / "asrd.service") == [
        f"{program} run --config %E/asrd/asrd.toml"
    ]


def test_the_control_socket_belongs_to_the_daemon_and_starts_with_it(
    system_units: Path, user_units: Path
) -> None:
    for units in (system_units, user_units):
        socket = (units / "asrd-control.socket").read_text()
        assert "\nService=asrd.service\n" in socket
        assert "\nFileDescriptorName=control\n" in socket
        service = (units / "asrd.service").read_text()
        for key in ("Requires", "After", "Also"):
            assert re.search(rf"^{key}=(.* )?asrd-control\.socket$", service, re.MULTILINE)


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/opt/asrd", "/opt/asrd"), ("/a b/asrd", '"/a b/asrd"'), ("/50%/$x", "/50%%/$$x"),
        ('/a"b', '"/a\\"b"'), ("/a\\1", "/a\\\\1"),
    ],
)
def test_odd_paths_are_quoted_for_systemd(path: str, word: str) -> None:
    assert with_program("ExecStart=/usr/bin/asrd run\n", Path(path)) == f"ExecStart={word} run\n"


def test_the_installed_configuration_is_valid_and_edits_of_it_survive(
    program: Path, system_units: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "root/etc/asrd/asrd.toml"
    drop_in = system_units / "asrd.service.d/reload.conf"
    read_config(config)
    config.write_text("# mine\n")
    drop_in.write_text("# mine\n")
    (system_units / "asrd.service").write_text("old")
    capsys.readouterr()
    assert main(["install-service", "--prefix", str(tmp_path / "root")]) == 0
    assert config.read_text() == drop_in.read_text() == "# mine\n"
    assert exec_starts(system_units / "asrd.service")
    assert "asrd.toml" not in capsys.readouterr().out
    assert not list(system_units.rglob("*.part"))


def test_a_dry_run_shows_everything_and_changes_nothing(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install-service", "--user", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert f"# {tmp_path}/config/systemd/user/asrd.service\n" in out
    assert "WatchdogSec=30" in out
    assert "# run: systemctl --user daemon-reload\n" in out
    assert not (tmp_path / "config").exists()


def fake_systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> Path:
    log, path = tmp_path / "log", tmp_path / "path/systemctl"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\necho "$@" >> {log}\n{code}\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)
    return log


def test_systemd_is_told_once_the_files_are_there(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = tmp_path / "config/systemd/user/asrd.service"
    log = fake_systemctl(tmp_path, monkeypatch, f"test -f {unit}")
    assert main(["install-service", "--user"]) == 0
    assert log.read_text() == "--user daemon-reload\n--user enable asrd.service\n"


def test_what_systemd_complains_of_is_told(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_systemctl(tmp_path, monkeypatch, "echo no bus >&2; exit 1")
    assert main(["install-service", "--user"]) == 1
    assert capsys.readouterr().err == "asrd: systemctl --user daemon-reload: no bus\n"


def test_without_systemd_the_error_says_so(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["install-service", "--user"]) == 1
    assert "systemctl is not installed" in capsys.readouterr().err


def test_a_program_that_the_sandbox_hides_is_refused(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("service.installation._HIDDEN", (str(tmp_path),))
    assert main(["install-service", "--dry-run"]) == 1
    assert f"lies in {tmp_path}, where system services see nothing" in capsys.readouterr().err
    assert main(["install-service", "--user", "--dry-run"]) == 0


def test_an_interpreter_that_the_sandbox_hides_is_refused_too(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interpreter = tmp_path / "home/python3"
    interpreter.parent.mkdir()
    interpreter.touch()
    program.with_name("python").symlink_to(interpreter)
    monkeypatch.setattr("service.installation._HIDDEN", (str(interpreter.parent),))
    assert main(["install-service", "--dry-run"]) == 1
    assert f"asrd: {interpreter} lies in " in capsys.readouterr().err


def test_a_source_tree_without_program_is_refused(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program.unlink()
    assert main(["install-service", "--dry-run"]) == 1
    assert "install asrd with pip first" in capsys.readouterr().err


def test_units_are_found_below_the_environment_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "share/asrd/systemd"
    shutil.copytree(unit_folder(), installed)
    monkeypatch.setattr("service.installation.__file__", str(tmp_path / "site/service/x.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert unit_folder() == installed
    shutil.rmtree(installed)
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    with pytest.raises(InstallError, match=r"/nowhere/share/asrd/systemd"):
        unit_folder()
