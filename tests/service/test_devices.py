"""`asrd devices`: names, levels and advice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.cli import main
from service.commands.devices import Meter
from service.sources import port_audio
from tests.service.test_microphone import FakeLibrary


def use(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def library() -> Any:
        return FakeLibrary(*names)

    monkeypatch.setattr(port_audio, "_sounddevice", library)


def test_inputs_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, "Webcam", "HDMI", "Yeti")
    assert main(["devices"]) == 0
    assert capsys.readouterr().out == (
        "Webcam: 2 channels, 48000 Hz (default)\nYeti: 2 channels, 48000 Hz\n"
    )
    assert main(["devices", "--device", "yeti"]) == 0
    assert capsys.readouterr().out == "Yeti: 2 channels, 48000 Hz\n"


@pytest.mark.parametrize(("arguments", "reason"), [
    (["devices"], "no microphone"),
    (["devices", "--meter"], "no microphone"),
    (["devices", "--device", "yeti"], "no microphone like 'yeti'"),
])  # fmt: skip
def test_no_microphone_is_said(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    use(monkeypatch)
    assert main(arguments) == 1
    assert capsys.readouterr().err == f"asrd: {reason}\n"


@pytest.mark.parametrize(
    ("peak", "advised"), [(0.0, "silent"), (0.01, "too quiet"), (0.3, "good"), (1.0, "clipping")]
)
def test_the_meter_gives_advice(peak: float, advised: str) -> None:
    meter = Meter()
    lines = [line for _ in range(8) for line in meter.push(np.full(800, peak, np.float32))]
    assert len(lines) == 2
    assert advised in lines[1]
