"""The framer: every complete frame once, in any packets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.framing import Framer

MANY = settings(max_examples=60, derandomize=True, deadline=None, database=None)


def frames_of(span: Tensor, length: int, hop: int) -> list[list[float]]:
    return [
        span[at : at + length].tolist() for at in range(0, len(span) - length + 1, hop)
    ]


@MANY
@given(
    length=st.integers(1, 9),
    hop=st.integers(1, 9),
    sizes=st.lists(st.integers(0, 25), max_size=8),
)
def test_any_packets_give_the_frames_of_the_whole(length: int, hop: int, sizes: list[int]) -> None:
    hop = min(hop, length)
    items = torch.arange(float(sum(sizes)))
    framer, found = Framer(length, hop), []
    for packet in torch.split(items, sizes) if sizes else ():
        framer.push(packet)
        span = framer.pop_span()
        assert len(span) == 0 or (len(span) - length) % hop == 0
        found += frames_of(span, length, hop)
        assert framer.ready == 0
        assert framer.pending < length
    assert found == frames_of(items, length, hop)


@MANY
@given(sizes=st.lists(st.integers(0, 25), min_size=1, max_size=8))
def test_peek_and_drop_give_the_same_frames(sizes: list[int]) -> None:
    items = torch.arange(2.0 * sum(sizes)).reshape(-1, 2)
    framer, found = Framer(5, 3, width=2), []
    for packet in torch.split(items, sizes):
        framer.push(packet)
        while framer.ready:
            assert torch.equal(framer.peek(), framer.peek())
            found.append(framer.peek().tolist())
            framer.drop()
    assert found == frames_of(items, 5, 3)


@pytest.mark.parametrize(("count", "ready"), [(0, 0), (1, 0), (3, 0), (4, 1), (5, 1), (6, 2)])
def test_ready_counts_complete_frames(count: int, ready: int) -> None:
    framer = Framer(4, 2)
    framer.push(torch.ones(count))
    assert (framer.ready, framer.pending) == (ready, count)


def test_a_peek_without_a_frame_is_an_error() -> None:
    framer = Framer(4, 2)
    framer.push(torch.ones(3))
    with pytest.raises(IndexError):
        framer.peek()
    assert framer.pop_span().shape == (0,)
    assert framer.pending == 3


def test_padding_appends_zeros() -> None:
    framer = Framer(4, 4, width=3)
    framer.push(torch.ones(1, 3))
    framer.pad(0)
    framer.pad(3)
    assert framer.pop_span().tolist() == [[1.0] * 3] + [[0.0] * 3] * 3


@pytest.mark.parametrize(("length", "hop"), [(4, 5), (4, 0), (4, -1), (0, 0)])
def test_frames_that_would_skip_items_or_never_advance_are_refused(length: int, hop: int) -> None:
    with pytest.raises(ValueError, match=f"got {hop}"):
        Framer(length, hop)
