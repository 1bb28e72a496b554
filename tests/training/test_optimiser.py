from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from toys import assert_equal, snapshot, toy_corpus, toy_network, toy_settings

from spacy_maral.training.optimiser import (
    make_optimiser,
    restore_tensors,
    set_learn_rate,
    trained_tensors,
)


def make(network, **settings):
    settings = toy_settings(**settings)
    network.freeze(embeddings=settings.freeze_embeddings, layers=settings.freeze_layers)
    return make_optimiser(network, network.encoder, settings)


def train_steps(network, optimiser, n: int, *, seed: int) -> None:
    corpus = toy_corpus()
    torch.manual_seed(seed)
    network.train()
    for step in range(n):
        set_learn_rate(optimiser, step, 2 * n, 0.1)
        output = network(network.batch(corpus, np.arange(4) + step))
        (output.logits.square().mean() + output.z[:, 0].mean()).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)


# learning rate


def factors(n_steps: int, warmup: float) -> np.ndarray:
    optimiser = torch.optim.AdamW([{"params": [nn.Parameter(torch.zeros(1))], "peak": 3.0}])
    found = []
    for step in range(n_steps):
        factor = set_learn_rate(optimiser, step, n_steps, warmup)
        assert optimiser.param_groups[0]["lr"] == pytest.approx(3.0 * factor)
        found.append(factor)
    return np.array(found)


@pytest.mark.parametrize("n_steps", [1, 2, 10, 97, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.06, 0.5, 0.99])
def test_the_rate_rises_then_falls_in_straight_lines(n_steps, warmup):
    rates = factors(n_steps, warmup)
    rising = int(np.ceil(warmup * n_steps))
    assert (rates > 0).all() and (rates <= 1).all()
    up, down = rates[:rising], rates[rising:]
    assert (np.diff(up) > 0).all()
    assert (np.diff(down) < 0).all()
    for part in (up, down):
        assert np.allclose(np.diff(part, 2), 0)
    if len(up) > 1:
        assert up[1] - up[0] == pytest.approx(1 / (warmup * n_steps + 1))
        assert up[0] == pytest.approx(up[1] - up[0])  # from zero before the first step
    if len(down) > 1:
        assert down[-1] == pytest.approx(down[0] / len(down), rel=0.6)
        assert down[-1] == pytest.approx(down[-2] - down[-1])  # to zero after the last step
    assert rates.max() > 0.5


def test_without_warmup_the_rate_starts_at_its_peak():
    np.testing.assert_allclose(factors(4, 0.0), [1, 0.75, 0.5, 0.25])


# groups


def test_vectors_do_not_decay_and_the_encoder_has_its_own_rate():
    network = toy_network()
    optimiser = make(network, learn_rate=1e-4, head_learn_rate=1e-2, weight_decay=0.3)
    place = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    names = dict(network.named_parameters())
    assert len(place) == len(names)
    for name, parameter in names.items():
        group = place[id(parameter)]
        assert group["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0), name
        assert group["peak"] == (1e-4 if name.startswith("encoder.") else 1e-2), name
    vectors = [name for name, p in names.items() if p.ndim == 1]
    assert any("LayerNorm.weight" in name for name in vectors)
    assert all(name.endswith((".bias", "LayerNorm.weight")) for name in vectors)


def test_steps_are_those_of_adamw_by_hand():
    """Betas of 0.9 and 0.999, epsilon of 1e-8, decay apart from the gradient."""
    module = nn.Module()
    module.matrix, module.vector = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    optimiser = make_optimiser(
        module, nn.Module(), toy_settings(head_learn_rate=0.1, weight_decay=0.3)
    )
    expected = {"matrix": np.ones((2, 2)), "vector": np.ones(2)}
    means = {name: np.zeros_like(x) for name, x in expected.items()}
    squares = {name: np.zeros_like(x) for name, x in expected.items()}
    rng = np.random.default_rng(0)
    for step in range(1, 5):
        rate = 0.1 * set_learn_rate(optimiser, step - 1, 8, 0.0)
        for name, parameter in module.named_parameters():
            g = rng.normal(size=tuple(parameter.shape))
            parameter.grad = torch.from_numpy(g).float()
            means[name] = 0.9 * means[name] + 0.1 * g
            squares[name] = 0.999 * squares[name] + 0.001 * g**2
            m, v = means[name] / (1 - 0.9**step), squares[name] / (1 - 0.999**step)
            decay = 0.3 if parameter.ndim > 1 else 0.0
            expected[name] *= 1 - rate * decay
            expected[name] -= rate * m / (np.sqrt(v) + 1e-8)
        optimiser.step()
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), expected[name], rtol=1e-5)


def test_nothing_moves_before_a_rate_is_set():
    network = toy_network()
    optimiser = make(network)
    before = snapshot(network)
    network(network.batch(toy_corpus(), np.arange(3))).logits.sum().backward()
    optimiser.step()
    assert_equal(snapshot(network), before)


def test_frozen_weights_are_not_the_optimisers():
    network = toy_network()
    optimiser = make(network, freeze_layers=1)
    held = {id(p) for group in optimiser.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        assert (id(parameter) in held) == parameter.requires_grad, name
    before = snapshot(network)
    train_steps(network, optimiser, 2, seed=0)
    moved = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
    assert "encoder.encoder.layer.1.output.dense.weight" in moved
    assert not any("layer.0." in name or "embeddings" in name for name in moved)


# saving


@pytest.mark.parametrize("settings", [{}, {"freeze_layers": 1}])
def test_a_restored_optimiser_goes_on_bitwise(settings):
    unbroken, broken = toy_network(), toy_network()
    optimiser = make(unbroken, **settings)
    train_steps(unbroken, optimiser, 3, seed=0)
    train_steps(unbroken, optimiser, 3, seed=1)

    first = make(broken, **settings)
    train_steps(broken, first, 3, seed=0)
    saved = {name: tensor.clone() for name, tensor in trained_tensors(broken, first)}
    resumed = toy_network()  # frozen weights come from the pretrained encoder
    second = make(resumed, **settings)
    restore_tensors(resumed, saved, second)
    train_steps(resumed, second, 3, seed=1)
    assert_equal(snapshot(resumed), snapshot(unbroken))
    # the state matters: without it the weights come out differently
    forgetful = toy_network()
    third = make(forgetful, **settings)
    restore_tensors(forgetful, saved)
    train_steps(forgetful, third, 3, seed=1)
    assert not torch.equal(
        snapshot(forgetful)["span_model.hidden.weight"],
        snapshot(unbroken)["span_model.hidden.weight"],
    )


def test_frozen_weights_are_not_saved_and_buffers_are():
    network = toy_network()
    optimiser = make(network, freeze_layers=1)
    train_steps(network, optimiser, 1, seed=0)
    names = {name for name, _ in trained_tensors(network, optimiser)}
    assert not any("encoder.layer.0." in name or "word_embeddings" in name for name in names)
    assert "buffer.span_model.statistics.mean" in names
    assert "optimiser.exp_avg.span_model.hidden.weight" in names
