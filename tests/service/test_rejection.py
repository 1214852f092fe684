"""Promises of measuring and calibrating rejection."""

from __future__ import annotations

import argparse
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.manifest import read_manifest
from asr.streaming import Recognizer
from service.cli import main
from service.errors import UsageError
from service.recognition import add_arguments, open_recognizer
from service.rejection import Verdict, calibrate, false_accepts, halves, judge, rates, table

Say = Callable[..., Path]
Capture = pytest.CaptureFixture[str]

DO = "intents: {Do: {data: [{sentences: ['ab {what}']}]}}\nlists: {what: {values: [c, d]}}\n"


def right(distance: float) -> Verdict:
    return Verdict(f"in{distance}", True, True, distance)


def outside(distance: float, source: str = "") -> Verdict:
    return Verdict(f"out{distance}", False, False, distance, source)


def test_both_errors_are_shares_of_what_they_can_happen_to() -> None:
    wrong = Verdict("wrong", True, False, 0.1)  # neither right nor outside
    verdicts = [right(0.2), right(0.4), wrong, outside(0.3), outside(0.9), outside(math.inf)]
    found = rates(verdicts, 0.3)
    assert (found.false_accepts, found.false_rejects) == pytest.approx((1 / 3, 1 / 2))
    assert rates([outside(1.0)], 1.0).false_rejects is None
    assert rates([wrong], 1.0).false_accepts is None


def test_what_can_be_told_apart_is_cut_in_the_middle() -> None:
    assert calibrate([[right(0.2), right(1.0), outside(2.0), outside(math.inf)]]) == 1.5


def test_the_worst_group_decides() -> None:
    low = [right(0.5), outside(1.0)]
    high = [right(0.8), outside(3.0)]
    threshold = calibrate([low, high])
    assert threshold == pytest.approx(0.9)


def test_a_long_list_of_other_speech_hides_no_short_one() -> None:
    inside = [*(right(0.5) for _ in range(9)), right(1.0)]
    short = [outside(0.8, "short"), outside(3.0, "short")]
    long = [outside(3.0 + i, "long") for i in range(98)]
    together = [*inside, *(Verdict(v.id, False, False, v.distance) for v in short + long)]
    assert calibrate([together]) == 2.0  # no command lost for one of a hundred others
    apart = [*inside, *short, *long]
    assert calibrate([apart]) == 0.65  # one of ten lost is less than half of a kind accepted
    assert false_accepts(apart, 2.0) == {"short": 0.5, "long": 0.0}


@pytest.mark.parametrize("group", [[], [right(1.0)], [outside(1.0)]])
def test_no_threshold_comes_of_one_side_alone(group: list[Verdict]) -> None:
    assert calibrate([[right(1.0), outside(2.0)], group]) is None


distances = st.lists(st.floats(0, 5) | st.just(math.inf), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 5), min_size=1, max_size=12), distances)
def test_no_other_threshold_has_a_smaller_worse_error(
    inside: list[float], others: list[float]
) -> None:
    verdicts = [*map(right, inside), *map(outside, others)]

    def worse(threshold: float) -> float:
        found = rates(verdicts, threshold)
        assert found.false_accepts is not None
        assert found.false_rejects is not None
        return max(found.false_accepts / 0.05, found.false_rejects / 0.03)

    chosen = calibrate([[Verdict(v.id, v.inside, v.right, round(v.distance, 1)) for v in verdicts]])
    verdicts = [Verdict(v.id, v.inside, v.right, round(v.distance, 1)) for v in verdicts]
    assert chosen is not None
    assert worse(chosen) == pytest.approx(min(worse(step / 20) for step in range(120)))


def test_halves_are_disjoint_and_always_the_same() -> None:
    verdicts = [Verdict(f"id{i}", True, True, 1.0) for i in range(100)]
    first, second = halves(verdicts)
    assert sorted(v.id for v in first + second) == sorted(v.id for v in verdicts)
    assert {zlib.crc32(v.id.encode()) % 2 for v in first} == {0}
    assert min(len(first), len(second)) > 30


def test_a_higher_threshold_accepts_more_and_rejects_less() -> None:
    rows = table([right(0.5), right(2.5), outside(1.0), outside(3.0)], 2.0)
    assert [row.threshold for row in rows] == sorted(row.threshold for row in rows)
    accepts = [row.false_accepts or 0.0 for row in rows]
    rejects = [row.false_rejects or 0.0 for row in rows]
    assert accepts == sorted(accepts)
    assert rejects == sorted(rejects, reverse=True)
    assert 2.0 in [row.threshold for row in rows]


@pytest.fixture
def spoken(say: Say, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A grammar, recordings of its commands among others, and recordings of none."""
    grammar, inside, others = (tmp_path / n for n in ("do.yaml", "in.jsonl", "out.jsonl"))
    grammar.write_text(DO)
    for name, text in {"1": "ab c", "2": "ab d", "3": "cab", "4": "ab cd"}.items():
        say(f"{name}.wav", text)
    rows = [
        {"audio": "1.wav", "text": "ab c"},
        {"audio": "2.wav", "slots": {"what": "d"}},
        {"audio": "3.wav", "text": "cab", "in_grammar": False},
    ]
    inside.write_text("".join(json.dumps(row) + "\n" for row in rows))
    others.write_text(json.dumps({"audio": "4.wav", "text": "ab cd"}) + "\n")
    return grammar, inside, others


def recognizer_of(grammar: Path) -> Recognizer:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return open_recognizer(parser.parse_args(["--grammar", str(grammar)]))


@pytest.mark.usefixtures("bundled")
def test_recordings_are_judged_with_nothing_rejected(spoken: tuple[Path, Path, Path]) -> None:
    grammar, inside, others = spoken
    recognizer = recognizer_of(grammar)
    commands = list(judge(recognizer, read_manifest(inside)))
    (foreign,) = judge(recognizer, read_manifest(others), inside=False)
    assert [(v.inside, v.right) for v in commands] == [(True, True), (True, True), (False, False)]
    assert commands[0].distance < 0.5 < foreign.distance
    assert (foreign.inside, foreign.right) == (False, False)


@pytest.mark.usefixtures("bundled")
def test_a_far_command_ends_no_utterance_that_is_judged(
    spoken: tuple[Path, Path, Path], say: Say, tmp_path: Path
) -> None:
    say("long.wav", "ab c  d d")  # a pause that ends a command
    (tmp_path / "long.jsonl").write_text(json.dumps({"audio": "long.wav", "text": "ab c d d"}))
    (long,) = judge(recognizer_of(spoken[0]), read_manifest(tmp_path / "long.jsonl"), inside=False)
    assert long.distance > 1.0


@pytest.mark.usefixtures("bundled")
def test_a_command_without_label_is_named(say: Say, tmp_path: Path) -> None:
    say("x.wav", "ab c")
    (tmp_path / "do.yaml").write_text(DO)
    path = tmp_path / "in.jsonl"
    path.write_text('{"audio": "x.wav", "id": "seven"}\n')
    with pytest.raises(UsageError, match="seven: neither 'text' nor 'slots'"):
        list(judge(recognizer_of(tmp_path / "do.yaml"), read_manifest(path)))


@pytest.mark.usefixtures("bundled")
def test_the_table_is_printed(spoken: tuple[Path, Path, Path], capfd: Capture) -> None:
    grammar, inside, others = map(str, spoken)
    options = ["evaluate", inside, "--grammar", grammar, "--rejection", "--outside", others]
    assert main(options) == 0
    out = capfd.readouterr().out
    assert "2 recordings in the grammar, 2 of them heard right; 2 outside" in out
    assert out.count("%") == 26
    assert "false accepts at 3.000: in 0.0%, out 0.0%" in out
    assert out.count("*") == 1
    assert main([*options, "--json"]) == 0
    figures = json.loads(capfd.readouterr().out)
    assert (figures["inside"], figures["right"], figures["outside"]) == (2, 2, 2)
    assert figures["table"][-1]["false_rejects"] == 0.0
    assert figures["false_accepts"] == {"in": 0.0, "out": 0.0}


@pytest.mark.usefixtures("bundled")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--rejection"], "--rejection needs --grammar"),
        (["--outside", "x.jsonl"], "--outside goes with --rejection"),
    ],
)
def test_options_that_do_not_fit_are_told(
    spoken: tuple[Path, Path, Path], capfd: Capture, options: list[str], reason: str
) -> None:
    assert main(["evaluate", str(spoken[1]), *options]) == 2
    assert capfd.readouterr().err == f"asrd: {reason}\n"
