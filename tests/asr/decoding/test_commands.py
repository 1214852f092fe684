"""Promises of the search within grammars and of its rejection."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.base import Hypothesis, LastTokens
from asr.decoding.beam import BeamConfig, BeamDecoder
from asr.decoding.commands import CommandConfig, CommandDecoder, CommandStream
from asr.decoding.confidence import ConfidenceConfig
from asr.decoding.grammar import Grammar, compile_grammar, read_document, union
from asr.decoding.greedy import GreedyDecoder
from asr.decoding.hotwords import Hotword, HotwordScorer
from asr.errors import ConfigError
from asr.vocabulary import BLANK, BLANK_ID, WORD_START, Vocabulary
from tests.equivalence import babbler

from .conftest import LETTERS, faint, spoken
from .grammar.conftest import HOME, compile_text, one_template
from .test_beam import UNLIMITED, brute_force, random_log_probs

BOUNDARY = spoken("a b")[2:4]
home = pytest.fixture(scope="module")(lambda: compile_text(HOME))


def decoder_of(
    grammar: Grammar, threshold: float = 0.8, letters: float = 0.0
) -> CommandDecoder:
    config = CommandConfig(threshold, letters=letters)
    return CommandDecoder(grammar, LETTERS, GreedyDecoder(), config)


def stream_of(
    grammar: Grammar, log_probs: torch.Tensor, threshold: float = 0.8, last: int = BLANK_ID,
    letters: float = 0.0,
) -> CommandStream:
    stream = decoder_of(grammar, threshold, letters).new_stream(LastTokens(letter=last))
    stream.advance(log_probs)
    return stream


def heard(
    grammar: Grammar, log_probs: torch.Tensor, threshold: float = 0.8, letters: float = 0.0
) -> Hypothesis:
    return stream_of(grammar, log_probs, threshold, letters=letters).hypothesis(final=True)


def text_of(hypothesis: Hypothesis) -> str:
    return LETTERS.decode(hypothesis.tokens)


def slots_of(hypothesis: Hypothesis) -> dict[str, object]:
    assert hypothesis.interpretation is not None
    return {slot.name: slot.value for slot in hypothesis.interpretation.slots}


@pytest.mark.parametrize(
    "text", ["turn on the bed light", "cancel timer", "a dark roast small coffee"]
)
def test_a_clear_sentence_is_understood(home: Grammar, text: str) -> None:
    best = heard(home, spoken(text))
    assert (text_of(best), best.understood, best.accepting) == (text, True, True)
    assert best.interpretation is not None
    assert best.interpretation.grammar == "test"


def test_the_sentence_is_found_where_other_letters_sound_likelier(home: Grammar) -> None:
    log_probs = spoken("turn on the bed light", blur=0.6)  # every letter's neighbour is likelier
    greedy = GreedyDecoder().new_stream()
    greedy.advance(log_probs)
    assert "bed" not in text_of(greedy.hypothesis())
    best = heard(home, log_probs)
    assert (text_of(best), best.understood) == ("turn on the bed light", True)


@pytest.mark.parametrize("text", ["what is the weather", "turn on", "turn on the bed", "red", "x"])
def test_other_speech_is_rejected_and_shown_as_it_sounds(home: Grammar, text: str) -> None:
    best = heard(home, spoken(text))
    assert (text_of(best), best.understood, best.interpretation) == (text, False, None)
    assert best.accepting is False


def test_the_threshold_works_both_ways(home: Grammar) -> None:
    near = spoken("cancel timers", blur=0.6)
    distance = stream_of(home, near).distance(final=True)
    assert distance == pytest.approx(np.log(0.6 / 0.4), rel=0.1)
    strict, lenient = (heard(home, near, distance + step) for step in (-1e-6, 1e-6))
    assert (text_of(strict), strict.understood) == ("b'mbdk shldqr", False)
    assert (text_of(lenient), lenient.understood) == ("cancel timers", True)
    with pytest.raises(ConfigError, match=r"threshold must not be negative, got -0\.1"):
        CommandConfig(threshold=-0.1)
    for bonus in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="bonus"):
            CommandConfig(bonus=bonus)


def test_a_bonus_for_letters_keeps_words_that_sound_faint() -> None:
    """And is no part of how unlike a sentence it sounds."""
    log_probs = faint("make the lights red", "the ", 0.1)
    found = {}
    for template, bonus in (("make [the] lights red", 0.0), ("make [the] lights red", 3.5),
                            ("make the lights red", 0.0)):  # fmt: skip
        config = CommandConfig(1e9, letters=1.0, bonus=bonus)
        stream = CommandDecoder(one_template(template), LETTERS, GreedyDecoder(), config)
        utterance = stream.new_stream()
        utterance.advance(log_probs)
        found[template, bonus] = utterance.hypothesis(final=True)
    short, whole, alone = found.values()
    assert text_of(short) == "make lights red"
    assert text_of(whole) == text_of(alone) == "make the lights red"
    assert whole.distance == pytest.approx(alone.distance)


def test_letters_heard_otherwise_count_beside_how_likely_they_are(home: Grammar) -> None:
    """A network that is unsure finds a wrong sentence hardly less likely."""
    right, wrong = spoken("cancel timer", blur=0.3), spoken("cancal dinner", blur=0.3)
    for log_probs, understood in ((right, True), (wrong, False)):
        unsure = (0.2 * log_probs).log_softmax(-1)
        assert heard(home, unsure, 1.0, letters=4.0).understood is understood
        alike = heard(home, unsure, 1.0)
        assert (text_of(alike), alike.understood) == ("cancel timer", True)


@pytest.mark.parametrize("text", ["cancel timer", "turn on the bed light"])
def test_a_foreign_word_behind_a_command_makes_it_none(home: Grammar, text: str) -> None:
    assert heard(home, spoken(text, blur=0.2), 1.5, letters=4.0).understood
    assert heard(home, spoken(f"{text} honestly", blur=0.2), 1.5, letters=4.0).understood is False


def test_the_distance_is_told_and_infinite_without_a_sentence(home: Grammar) -> None:
    stream = stream_of(home, spoken("cancel timers", blur=0.6))
    assert stream.hypothesis(final=True).distance == stream.distance(final=True) > 0
    half = heard(home, spoken("turn on the bed "), threshold=float("inf"))
    assert (half.understood, half.distance) == (False, float("inf"))
    everything = heard(home, spoken("cancel timer ok"), threshold=float("inf"))
    assert (text_of(everything), everything.understood) == ("cancel timer", True)


def test_half_a_sentence_is_none_whatever_the_threshold(home: Grammar) -> None:
    stream = stream_of(home, spoken("turn on the bed "), threshold=1e9)
    assert stream.hypothesis().understood is True
    assert stream.hypothesis(final=True).understood is False
    assert stream.distance(final=True) == float("inf")


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("set the bed light brightness to forty two percent",
         {"lamp": "bed light", "brightness": 42, "domain": "light"}),
        ("set lamps light blue", {"lamp": "lamps", "color": "#aaf", "domain": "light"}),
        ("set a timer for twelve minutes", {"minutes": 12}),
    ],
)  # fmt: skip
def test_slots_are_typed(home: Grammar, text: str, slots: dict[str, object]) -> None:
    found = slots_of(heard(home, spoken(text)))
    assert found == slots
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in slots.items()
    }


def test_partials_show_the_sentence_so_far(home: Grammar) -> None:
    log_probs = spoken("cancel the timers")
    stream, shown = decoder_of(home).new_stream(), []
    for rows in log_probs.split(2):
        stream.advance(rows)
        best = stream.hypothesis()
        assert best.understood
        assert best.interpretation is None
        shown.append(text_of(best))
    assert shown[:4] == ["c", "ca", "can", "canc"]
    assert shown[-1] == "cancel the timers"


@pytest.mark.parametrize(
    ("text", "accepting", "continues"),
    [
        ("cancel the tim", False, True), ("cancel the timer", True, False),
        ("cancel the timers", True, False), ("cancel the", False, True),
    ],
)  # fmt: skip
def test_prefixes_know_whether_they_end_and_go_on(
    home: Grammar, text: str, accepting: bool, continues: bool
) -> None:
    best = stream_of(home, spoken(text)).hypothesis()
    assert text_of(best) == text
    assert (best.accepting, best.continues) == (accepting, continues)


def test_a_sentence_is_complete_though_a_mere_beginning_sounds_a_little_likelier() -> None:
    grammar = compile_text("intents: {Do: {data: [{sentences: ['play on tv', 'play on tu b']}]}}")
    for blur, complete in ((0.6, True), (0.9999, False)):  # u, the letter before v, is likelier
        stream = stream_of(grammar, torch.cat((spoken("play on t"), spoken("v", blur=blur))))
        best = stream.hypothesis()
        assert text_of(best) == "play on tu"
        assert (best.accepting, best.continues) == (complete, not complete)


def test_a_boundary_ends_a_sentence_for_good(home: Grammar) -> None:
    stream = stream_of(home, spoken("cancel the timer"))
    stream.advance(BOUNDARY)
    best = stream.hypothesis()
    assert (text_of(best), best.accepting, best.continues) == ("cancel the timer", True, False)
    stream.advance(spoken("so now"))
    assert stream.hypothesis(final=True).understood is False


def test_a_rejected_start_that_proves_to_be_a_command_was_never_called_stable() -> None:
    grammar = compile_text("intents: {Do: {data: [{sentences: ['hey lamp go on now']}]}}")
    blurred, clear = spoken("hey", blur=0.9), spoken("hey lamp go on now")[6:]
    stream = stream_of(grammar, blurred)
    first = stream.hypothesis()
    stream.advance(clear)
    last = stream.hypothesis(final=True)
    assert (first.understood, last.understood) == (False, True)
    assert first.tokens != last.tokens[: len(first.tokens)]
    assert first.stable == 0
    assert last.stable == len(last.tokens)


def test_silence_is_no_text(home: Grammar) -> None:
    silence = torch.tensor([[0.999, *[0.001 / 28] * 28]] * 40).log()
    for final in (False, True):
        assert stream_of(home, silence).hypothesis(final).tokens == ()
    assert decoder_of(home).new_stream().hypothesis(final=True).tokens == ()


@pytest.mark.parametrize("cut", [" {}", "{} ", " {} "])
def test_boundaries_at_a_cut_are_no_part_of_the_sentence(home: Grammar, cut: str) -> None:
    before, behind = (BOUNDARY[: 2 * len(part)] for part in cut.split("{}"))
    best = heard(home, torch.cat((before, spoken("cancel timer"), behind)))
    assert (text_of(best), best.understood, best.accepting) == ("cancel timer", True, True)
    assert best.tokens != tuple(LETTERS.encode("cancel timer"))
    assert best.interpretation is not None


def test_a_token_held_across_a_cut_is_not_written_again(home: Grammar) -> None:
    held = spoken("s")[:1]
    log_probs = torch.cat((held, held, spoken("b")[1:], spoken("cancel timer")))
    (s,) = LETTERS.encode("s")
    best = stream_of(home, log_probs, last=s).hypothesis(final=True)
    assert (text_of(best), best.understood) == ("cancel timer", True)


def test_several_grammars_are_searched_at_once(home: Grammar) -> None:
    document = read_document("cafe", [("cafe.yaml",
        "intents: {Pay: {data: [{sentences: ['the bill please', 'cancel timer']}]}}")])
    both = union([home, compile_grammar(document, LETTERS)])
    for text, name in (("the bill please", "cafe"), ("set lamp red", "test"),
                       ("cancel timer", "test")):
        best = heard(both, spoken(text))
        assert best.interpretation is not None
        assert (text_of(best), best.interpretation.grammar) == (text, name)
    assert heard(home, spoken("the bill please")).understood is False


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_chunks_do_not_matter(home: Grammar, chunk: int) -> None:
    log_probs = spoken("turn on the living room lights", blur=0.3)
    stream = decoder_of(home).new_stream()
    for rows in log_probs.split(chunk):
        stream.advance(rows)
        stream.hypothesis(), stream.hypothesis(final=True)  # reading changes nothing
    whole = heard(home, log_probs)
    found = stream.hypothesis(final=True)
    assert found == dataclasses.replace(whole, score=found.score)
    assert found.score == pytest.approx(whole.score)


def test_rejected_speech_is_decoded_by_the_free_decoder(home: Grammar) -> None:
    log_probs = spoken("what now", blur=0.6)
    free = BeamDecoder(scorers=[HotwordScorer([Hotword("what now", 2.0)], LETTERS)])
    stream = CommandDecoder(home, LETTERS, free).new_stream()
    stream.advance(log_probs)
    best = stream.hypothesis(final=True)
    assert (text_of(best), best.understood) == ("what now", False)
    assert text_of(heard(home, log_probs)) != "what now"


def test_the_free_reading_may_be_of_word_pieces(home: Grammar) -> None:
    pieces = Vocabulary([BLANK, "▁what", "▁wh", "at", "▁now"])
    written = torch.full((9, len(pieces)), -9.0)
    for frame, token in enumerate([0, 1, 1, 0, 0, 4, 0, 0, 4]):
        written[frame, token] = 0.0
    decoder = CommandDecoder(home, LETTERS, GreedyDecoder(pieces=True))
    assert decoder.pieces
    other, command = decoder.new_stream(), decoder.new_stream()
    other.advance(spoken("what now")[:9], written)
    command.advance(spoken("turn on the living room lights"), written)
    best = other.hypothesis(final=True)
    assert (best.pieces, best.understood, pieces.decode(best.tokens)) == (
        True, False, "what now now"
    )
    assert [reading.pieces for reading in other.n_best(3, final=True)] == [True]
    found = command.hypothesis(final=True)
    assert (found.pieces, found.understood) == (False, True)
    assert other.last_tokens == LastTokens(other.last_tokens.letter, 4)
    following = decoder.new_stream(other.last_tokens)
    following.advance(spoken("now")[:1], written[-1:])
    assert following.hypothesis().tokens == ()  # that piece was written before the cut


def test_a_final_interprets_its_sentence_once(monkeypatch: pytest.MonkeyPatch) -> None:
    grammar = compile_text("intents: {Do: {data: [{sentences: ['a']}]}}")
    free = BeamDecoder(confidence=ConfidenceConfig())
    session = babbler("gru").new_session(16_000, decoder=CommandDecoder(grammar, LETTERS, free))
    session._search.advance(spoken("a"))
    asked: list[str] = []
    monkeypatch.setattr(grammar, "interpret", asked.append)
    assert session.transcript(final=True).understood
    assert asked == ["a"]


TINY = Vocabulary([BLANK, WORD_START, "a", "b"])
SENTENCES = {"a", "ab", "a b", "b a", "bb"}


def sentence_of(tokens: tuple[int, ...]) -> str:
    """The text of tokens, with boundaries that are in the midst of no sentence refused."""
    text = "".join(TINY.tokens[token] for token in tokens).replace(WORD_START, " ").lstrip(" ")
    return text.removesuffix(" ")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_unlimited_search_equals_the_sum_over_all_paths_of_sentences(
    seed: int, frames: int
) -> None:
    document = read_document("tiny", [("tiny.yaml",
        f"intents: {{Do: {{data: [{{sentences: {sorted(SENTENCES)}}}]}}}}")])
    grammar = compile_grammar(document, TINY)
    log_probs = random_log_probs(seed, frames, len(TINY))
    everything = brute_force(log_probs)
    expected = {t: score for t, score in everything.items() if sentence_of(t) in SENTENCES}
    config = CommandConfig(1e9, BeamConfig(**UNLIMITED))  # type: ignore[arg-type]
    stream = CommandDecoder(grammar, TINY, BeamDecoder(), config).new_stream()
    stream.advance(log_probs)
    best = stream.hypothesis(final=True)
    assert best.understood is bool(expected)
    if expected:
        assert best.score == pytest.approx(max(expected.values()))
        assert expected[best.tokens] == pytest.approx(best.score)
    found = stream._within.n_best(10_000, final=True)
    sums: dict[str, float] = defaultdict(float)
    for tokens, score in expected.items():
        sums[sentence_of(tokens)] += np.exp(score)
    totals: dict[str, float] = defaultdict(float)
    for hypothesis in found if expected else ():
        totals[sentence_of(hypothesis.tokens)] += np.exp(hypothesis.score)
    assert dict(totals) == pytest.approx(dict(sums))
