"""Models, grammars and hot words as the command line chooses them, heard in tones."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.decoding.beam import BeamDecoder
from asr.decoding.commands import CommandDecoder
from asr.decoding.grammar import load_grammar
from asr.decoding.greedy import GreedyDecoder
from asr.decoding.hotwords import HotwordScorer
from asr.streaming import Recognizer, Session
from service.cli import main
from service.recognition import add_arguments, open_recognizer

Say = Callable[..., Path]
Speech = Callable[..., NDArray[np.float32]]
Capture = pytest.CaptureFixture[str]
Write = Callable[[str, str], Path]

DO = """\
intents:
  Do: {data: [{sentences: ["ab {what}"], slots: {always: 1}}]}
lists:
  what: {values: [c, {in: d, out: 7}]}
"""
STOP = "intents: {Stop: {data: [{sentences: ['d a']}]}}\n"

pytestmark = pytest.mark.usefixtures("bundled")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.fixture
def do(write: Write) -> Path:
    return write("do.yaml", DO)


def run(*arguments: object) -> int:
    return main(list(map(str, arguments)))


def test_json_tells_what_a_command_asks_for(say: Say, do: Path, capfd: Capture) -> None:
    assert run("transcribe", "--grammar", do, say("x.wav", "ab d.cab"), "--format", "json") == 0
    first, second = json.loads(capfd.readouterr().out)["utterances"]
    assert (first["text"], first["understood"]) == ("ab d", True)
    assert (first["intent"], first["grammar"]) == ("Do", "do")
    assert first["slots"] == {"what": 7, "always": 1}
    assert 0.85 < first["confidence"] <= 1
    assert [word["word"] for word in first["words"]] == ["ab", "d"]
    assert (second["text"], second["understood"]) == ("cab", False)
    assert not {"intent", "slots", "grammar"} & second.keys()


def test_without_a_grammar_nothing_is_said_of_understanding(say: Say, capfd: Capture) -> None:
    assert run("transcribe", say("x.wav", "ab d"), "--format", "json") == 0
    (utterance,) = json.loads(capfd.readouterr().out)["utterances"]
    assert not {"understood", "intent", "slots", "grammar"} & utterance.keys()


def test_text_marks_what_is_not_understood(say: Say, do: Path, capfd: Capture) -> None:
    assert run("transcribe", "--grammar", do, say("x.wav", "ab c.cab.ab d")) == 0
    assert capfd.readouterr().out == "ab c not understood: cab ab d\n"


def test_several_grammars_and_shared_names(say: Say, write: Write, capfd: Capture) -> None:
    grammar = write("names.yaml", "intents: {On: {data: [{sentences: ['{name} b']}]}}")
    names = write("home.yaml", "lists: {name: {values: [{in: cab, out: Cab}]}}")
    stop = write("stop.yaml", STOP)
    options = ("--grammar", grammar, "--names", names, "--grammar", stop, "--format", "json")
    assert run("transcribe", *options, say("x.wav", "cab b.d a")) == 0
    first, second = json.loads(capfd.readouterr().out)["utterances"]
    assert (first["grammar"], first["slots"]) == ("names", {"name": "Cab"})
    assert (second["grammar"], second["intent"]) == ("stop", "Stop")


def test_a_higher_threshold_takes_more_for_a_command(say: Say, do: Path, capfd: Capture) -> None:
    path = say("x.wav", "ab cd")
    for threshold, text in ((0.5, "not understood: ab cd\n"), (20, "ab c\n")):
        assert run("transcribe", "--grammar", do, "--threshold", threshold, path) == 0
        assert capfd.readouterr().out == text


def test_rejected_speech_is_read_with_the_hot_words(do: Path, write: Write) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    hot = write("hot.txt", "cab: 20")
    options = ("--grammar", do, "--hotwords", hot, "--decoder", "beam", "--threshold", 0.25)
    decoder = open_recognizer(parser.parse_args(list(map(str, options)))).decoder
    assert isinstance(decoder, CommandDecoder)
    assert decoder.config.threshold == 0.25
    assert isinstance(decoder.free, BeamDecoder)
    assert [type(scorer) for scorer in decoder.free.scorers] == [HotwordScorer]


@pytest.mark.parametrize(
    ("option", "text", "reason"),
    [
        ("--grammar", "intents:\n  Do: {data: [{sentences: ['a {x}']}]}", ":2: unknown list {x}"),
        ("--grammar", "intents: {\n\nDo", ":3: "),
        ("--grammar", "lists: {}\n", ": no sentence can be said"),
        ("--hotwords", "a\nroute 66\n", ":2: no token for '6' in 'route 66'"),
        ("--hotwords", "a\n\nb: loud\n", ":3: expected PHRASE or PHRASE: BOOST, got 'b: loud'"),
    ],
)
def test_a_bad_file_is_one_line_with_its_place(
    say: Say, write: Write, capfd: Capture, option: str, text: str, reason: str
) -> None:
    path = write("bad.txt", text)
    assert run("transcribe", option, path, "--decoder", "beam", say("x.wav", "ab c")) == 1
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"asrd: {path}{reason}")


@pytest.mark.parametrize("option", ["--grammar", "--hotwords"])
def test_a_missing_file_is_named(
    say: Say, tmp_path: Path, capfd: Capture, option: str
) -> None:
    missing = tmp_path / "none.yaml"
    assert run("transcribe", option, missing, "--decoder", "beam", say("x.wav", "ab c")) == 1
    assert capfd.readouterr().err.lower() == f"asrd: {missing}: no such file or directory\n".lower()


@pytest.mark.parametrize("command", ["transcribe", "evaluate"])
@pytest.mark.parametrize("option", [("--names", "home.yaml"), ("--threshold", "1")])
def test_settings_of_grammars_need_one(
    write: Write, capfd: Capture, command: str, option: tuple[str, str]
) -> None:
    assert run(command, *option, write("empty.jsonl", "")) == 2
    assert capfd.readouterr().err == "asrd: --names and --threshold go with --grammar\n"


def test_an_impossible_threshold_is_told(say: Say, do: Path, capfd: Capture) -> None:
    for threshold in ("-1", "nan"):
        options = ("--grammar", do, f"--threshold={threshold}")
        assert run("transcribe", *options, say("x.wav", "ab c")) == 1
        assert "threshold must not be negative" in capfd.readouterr().err


def test_hot_words_need_a_search(say: Say, write: Write, capfd: Capture) -> None:
    hot = write("hot.txt", "ab")
    for decoder in (("--decoder", "greedy"), ()):  # the bundle's best is greedy, too
        assert run("transcribe", *decoder, "--hotwords", hot, say("x.wav", "ab c")) == 1
        err = capfd.readouterr().err
        assert err == "asrd: hot words need a search: use the decoder lm or beam, not greedy\n"


def manifest(write: Write, *rows: dict[str, Any]) -> Path:
    return write("list.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def test_evaluation_counts_commands(say: Say, do: Path, write: Write, capfd: Capture) -> None:
    for name, text in {"1": "ab c", "2": "ab d", "3": "cab", "4": "ab d", "5": "ab d"}.items():
        say(f"{name}.wav", text)
    rows = manifest(
        write,
        {"audio": "1.wav", "text": "Ab, C.", "slots": {"what": "c"}},
        {"audio": "2.wav", "text": "ab d bad", "slots": {"what": "d"}},  # a word is lost
        {"audio": "3.wav", "text": "cab"},  # heard, but no command
        {"audio": "4.wav", "slots": {"what": "c"}},
        {"audio": "5.wav"},
    )
    assert run("evaluate", "--grammar", do, rows, "--json") == 0
    figures = json.loads(capfd.readouterr().out)
    assert figures["sentence_accuracy"] == pytest.approx(1 / 3)
    assert figures["slot_accuracy"] == pytest.approx(2 / 3)
    assert figures["rejected"] == pytest.approx(1 / 5)
    assert figures["wer"] == pytest.approx(1 / 6)
    assert run("evaluate", "--grammar", do, rows) == 0
    out = capfd.readouterr().out
    assert "  sentence accuracy 33.33%\n  slot accuracy 66.67%\n  rejected 20.00%\n" in out


def test_what_nothing_was_scored_for_is_null(
    say: Say, do: Path, write: Write, capfd: Capture
) -> None:
    say("1.wav", "ab c")
    rows = ({"audio": "1.wav"},), ()
    for listed, rejected in zip(rows, (0.0, None), strict=True):
        path = manifest(write, *listed)
        assert run("evaluate", "--grammar", do, path, "--json") == 0
        figures = json.loads(capfd.readouterr().out)
        assert figures["sentence_accuracy"] is figures["slot_accuracy"] is None
        assert figures["rejected"] == rejected
    assert run("evaluate", manifest(write), "--json") == 0
    assert not {"sentence_accuracy", "slot_accuracy", "rejected"} & json.loads(
        capfd.readouterr().out
    ).keys()


def listen(recognizer: Recognizer, sessions: Sequence[Session], *speech: NDArray[np.float32]) -> (
    list[tuple[str, bool | None]]
):
    """Give each session its samples, all in the same batches; text and verdict of each."""
    for session, samples in zip(sessions, speech, strict=True):
        session.accept(samples)
    while ready := [session for session in sessions if session.ready]:
        recognizer.step(ready)
    transcripts = [session.transcript(final=True) for session in sessions]
    return [(transcript.text, transcript.understood) for transcript in transcripts]


def commands_of(recognizer: Recognizer, path: Path) -> CommandDecoder:
    grammar = load_grammar(path, recognizer.vocabulary)
    return CommandDecoder(grammar, recognizer.vocabulary, GreedyDecoder())


def test_another_grammar_takes_effect_at_the_next_utterance(
    recognizer: Recognizer, speech: Speech, do: Path, write: Write
) -> None:
    first = commands_of(recognizer, do)
    second = commands_of(recognizer, write("stop.yaml", STOP))
    session = recognizer.new_session(16_000, decoder=first)
    silence = np.zeros(8_000, np.float32)  # what is said leaves resampling and chunks
    session.decoder = second  # in mid-utterance
    samples = np.concatenate((speech("d a"), silence))
    assert listen(recognizer, [session], samples) == [("d a", False)]
    session.start_utterance()
    assert listen(recognizer, [session], samples) == [("d a", True)]
    session.decoder = recognizer.decoder
    session.start_utterance()
    assert listen(recognizer, [session], samples) == [("d a", None)]


def test_streams_of_one_batch_have_grammars_of_their_own(
    recognizer: Recognizer, speech: Speech, do: Path, write: Write
) -> None:
    stop = commands_of(recognizer, write("stop.yaml", STOP))
    decoders = [commands_of(recognizer, do), stop, stop, recognizer.decoder]
    said = ["ab c", "d a", "ab c", "d a"]
    sessions = [recognizer.new_session(16_000, decoder=decoder) for decoder in decoders]
    samples = [np.concatenate((speech(text), np.zeros(8_000, np.float32))) for text in said]
    together = listen(recognizer, sessions, *samples)
    assert together == [("ab c", True), ("d a", True), ("ab c", False), ("d a", None)]
    for decoder, alone, expected in zip(decoders, samples, together, strict=True):
        session = recognizer.new_session(16_000, decoder=decoder)
        assert listen(recognizer, [session], alone) == [expected]
