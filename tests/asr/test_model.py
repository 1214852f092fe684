"""The acoustic model: explicit state, exact delays, honest cells."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.errors import ConfigError
from asr.model import AcousticModel, ModelConfig, RowConvolution, split_state, stack_states
from asr.recurrent import RecurrentLayer
from tests.equivalence import CELLS, TOLERANCE, VARIANTS, babbler

every_cell = pytest.mark.parametrize("cell", CELLS)
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def model_of(cell: str, variant: str) -> AcousticModel:
    return babbler(cell, variant).model


def features_for(model: AcousticModel, steps: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(steps)
    frames = steps * model.config.step_frames
    return torch.randn(batch, frames, model.config.n_mels, generator=generator)


@torch.no_grad()
def log_probs_of(model: AcousticModel, features: Tensor) -> Tensor:
    log_probs: Tensor = model(features)[0]
    return log_probs


@every_variant
@every_cell
def test_output_is_log_probs_at_the_subsampled_rate(cell: str, variant: str) -> None:
    model = model_of(cell, variant)
    features = features_for(model, 5, batch=2)
    log_probs = log_probs_of(model, features)
    config = model.config
    assert log_probs.shape == (2, features.shape[1] // config.subsampling, config.vocab_size)
    assert log_probs.shape[1] == 5 * config.emissions
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))


@every_variant
@every_cell
def test_state_is_batch_first_and_keeps_its_shape(cell: str, variant: str) -> None:
    model = model_of(cell, variant)
    features = features_for(model, 2, batch=3)
    state = model.initial_state(3)
    _, new = model(features, state)
    assert [part.shape for part in new] == [part.shape for part in state]
    assert all(part.shape[0] == 3 and part.count_nonzero() == 0 for part in state)


@every_variant
@every_cell
@torch.no_grad()
def test_frames_cut_at_any_steps_give_the_whole(cell: str, variant: str) -> None:
    model = model_of(cell, variant)
    features = features_for(model, 12, batch=2)
    expected = log_probs_of(model, features)
    for steps in (1, 5, 12):
        state, found = None, []
        for piece in torch.split(features, steps * model.config.step_frames, dim=1):
            log_probs, state = model(piece, state)
            found.append(log_probs)
        torch.testing.assert_close(torch.cat(found, 1), expected, rtol=0, atol=TOLERANCE)


@every_variant
@every_cell
@torch.no_grad()
def test_rows_of_a_batch_do_not_meet(cell: str, variant: str) -> None:
    model = model_of(cell, variant)
    features = features_for(model, 4, batch=3)
    _, states = zip(*(model(row[None]) for row in features), strict=True)
    both, merged = model(features, stack_states(states))
    for row, state, found, part in zip(features, states, both, split_state(merged), strict=True):
        alone, new = model(row[None], state)
        torch.testing.assert_close(found, alone[0], rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(part, new, rtol=0, atol=TOLERANCE)


def test_stacking_and_splitting_states_are_inverse() -> None:
    states = [(torch.full((1, 2), float(i)), torch.full((1, 3, 1), -float(i))) for i in range(3)]
    stacked = stack_states(states)
    assert [part.shape for part in stacked] == [(3, 2), (3, 3, 1)]
    for found, expected in zip(split_state(stacked), states, strict=True):
        torch.testing.assert_close(found, expected)


@every_variant
@every_cell
def test_output_hears_exactly_lookahead_steps_of_the_future(cell: str, variant: str) -> None:
    model = model_of(cell, variant)
    step, lookahead = model.config.step_frames, model.config.lookahead
    features = features_for(model, 10)
    changed = features.clone()
    changed[:, 6 * step :] += 1.0  # from step 6 on
    difference = (log_probs_of(model, features) - log_probs_of(model, changed)).abs().amax((0, 2))
    # output i stands for step i - lookahead: the delay is in the output, not hidden
    assert difference[: 6 * model.config.emissions].max() == 0
    assert difference[6 * model.config.emissions :].min() > 0
    assert model.config.delay == lookahead * model.config.emissions


def test_a_first_frame_alone_reaches_later_outputs_through_the_state() -> None:
    for cell in CELLS:
        model = model_of(cell, "plain")
        features = features_for(model, 6)
        changed = features.clone()
        changed[:, 0] += 3.0
        difference = log_probs_of(model, features) - log_probs_of(model, changed)
        assert difference[:, 2:].abs().max() > 1e-3


@pytest.mark.parametrize(("kind", "f"), [("rnn_tanh", torch.tanh), ("rnn_relu", torch.relu)])
@torch.no_grad()
def test_plain_cells_compute_what_they_promise(kind: Any, f: Any) -> None:
    torch.manual_seed(0)
    layer = RecurrentLayer(kind, 6, 0.0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.4)
    x, (h,) = torch.randn(2, 5, 6), (torch.randn(2, 6),)
    w_x, w_h, b_x, b_h = layer.cell.parameters()
    found, (last,) = layer(x, (h,))
    for t in range(5):
        y = nn.functional.layer_norm(x[:, t], (6,), layer.norm.weight, layer.norm.bias)
        h = f(h @ w_h.T + y @ w_x.T + b_x + b_h)
        torch.testing.assert_close(found[:, t], x[:, t] + h)
    torch.testing.assert_close(last, h)


@torch.no_grad()
def test_row_convolution_mixes_each_step_with_the_following() -> None:
    layer = RowConvolution(4, 2)
    nn.init.normal_(layer.weight)
    x = torch.randn(1, 7, 4)
    found, (state,) = layer(x, layer.initial_state(1))
    padded = torch.cat((torch.zeros(1, 2, 4), x), 1)
    for t in range(7):
        expected = sum(layer.weight[i] * padded[:, t + i] for i in range(3))
        torch.testing.assert_close(found[:, t], expected)
    torch.testing.assert_close(state, x[:, 5:])


def test_row_convolution_starts_as_a_plain_delay() -> None:
    layer = RowConvolution(4, 2)
    x = torch.randn(1, 7, 4)
    torch.testing.assert_close(layer(x, layer.initial_state(1))[0][:, 2:], x[:, :5])


@every_cell
def test_every_weight_gets_a_gradient(cell: str) -> None:
    model = AcousticModel(
        ModelConfig(cell=cell, hidden_size=8, n_layers=2, conv_channels=2, lookahead=1)  # type: ignore[arg-type]
    )
    model(features_for(model, 6))[0][..., 1].sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_half_a_step_is_refused() -> None:
    model = model_of("gru", "plain")
    with pytest.raises(ValueError, match="7 frames are no multiple of 8"):
        model(torch.zeros(1, 7, 80))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"cell": "elman"}, "unknown cell 'elman': use one of rnn_tanh, rnn_relu, gru, lstm"),
        ({"n_mels": 0}, "n_mels must be at least 1, got 0"),
        ({"hidden_size": -1}, "hidden_size must be at least 1, got -1"),
        ({"n_layers": 0}, "n_layers must be at least 1, got 0"),
        ({"stack": 0}, "stack must be at least 1, got 0"),
        ({"emissions": 0}, "emissions must be at least 1, got 0"),
        ({"emissions": 3}, r"emissions \(3\) must divide the 8 frames"),
        ({"conv_channels": 0}, "conv_channels must be even and above 0, got 0"),
        ({"conv_channels": 3}, "conv_channels must be even and above 0, got 3"),
        ({"lookahead": -1}, "lookahead >= 0"),
        ({"dropout": 1.0}, "dropout < 1"),
        ({"dropout": float("nan")}, "dropout < 1"),
        ({"vocab_size": 1}, "vocab_size >= 2"),
    ],
)
def test_impossible_shapes_are_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        ModelConfig(**wrong)


def test_frame_rates_follow_from_stack_and_emissions() -> None:
    config = ModelConfig(stack=3, emissions=4, lookahead=2)
    assert (config.step_frames, config.subsampling, config.delay) == (12, 3, 8)


def test_a_live_chunk_takes_a_shorter_way_to_the_same_end() -> None:
    """Without gradients a few steps of an LSTM are made one by one."""
    layer = RecurrentLayer("lstm", 24, 0.0).eval()
    x = torch.randn(3, 4, 24)
    state = tuple(torch.randn(3, 24) for _ in range(2))
    usual, after = layer(x, state)
    with torch.inference_mode():
        found, left = layer(x, state)
    for a, b in zip((found, *left), (usual, *after), strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=0, atol=1e-6)
