"""Losses against literal transcriptions in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize, one_hot

from spacy_maral.errors import MaralError
from spacy_maral.model import losses, vmf

DOUBLE = torch.float64


def make(n: int = 12, n_classes: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    scores = 5 * torch.randn(n, n_classes, generator=generator, dtype=DOUBLE)
    targets = torch.randint(0, n_classes, (n,), generator=generator)
    return scores, targets, torch.rand(n, generator=generator, dtype=DOUBLE)


def literal_max_margin(scores, targets, log_prior) -> list[float]:
    """Eq. 7: -log(pi_y exp(rho_y) / sum_c pi_c exp(rho_c)), with Python's floats."""
    values = []
    for row, target in zip(scores.tolist(), targets.tolist(), strict=True):
        terms = [math.exp(p) * math.exp(r) for p, r in zip(log_prior.tolist(), row, strict=True)]
        values.append(-math.log(terms[target] / sum(terms)))
    return values


def test_max_margin_is_equation_7() -> None:
    scores, targets, weights = make()
    log_prior = torch.tensor([0.9, 0.05, 0.03, 0.02], dtype=DOUBLE).log()
    wanted = literal_max_margin(scores, targets, log_prior)
    none = losses.max_margin(scores, targets, log_prior, reduction="none")
    assert none.tolist() == pytest.approx(wanted, rel=1e-12)
    assert float(losses.max_margin(scores, targets, log_prior)) == pytest.approx(sum(wanted) / 12)
    weighted = [w * loss for w, loss in zip(weights.tolist(), wanted, strict=True)]
    for reduction, value in [
        ("sum", sum(weighted)),
        ("mean", sum(weighted) / float(weights.sum())),
    ]:
        found = losses.max_margin(scores, targets, log_prior, weights=weights, reduction=reduction)
        assert float(found) == pytest.approx(value, rel=1e-12)
    # a mean by weight, however small the weights are
    small = losses.max_margin(scores, targets, log_prior, weights=weights / 1000)
    assert float(small) == pytest.approx(sum(weighted) / float(weights.sum()), rel=1e-12)


def test_prior_scale_is_a_factor_on_the_log_prior() -> None:
    scores, targets, _ = make()
    prior = torch.tensor([0.9, 0.05, 0.03, 0.02], dtype=DOUBLE)
    softened = prior**0.1 / (prior**0.1).sum()
    scaled = losses.max_margin(scores, targets, 0.1 * prior.log())
    torch.testing.assert_close(scaled, losses.max_margin(scores, targets, softened.log()))
    uniform = torch.full((4,), 0.25, dtype=DOUBLE).log()
    plain = losses.max_margin(scores, targets)
    torch.testing.assert_close(plain, losses.max_margin(scores, targets, uniform))


def with_outside(classes: torch.Tensor, weight: float, given: torch.Tensor | None = None):
    """Weights of spans, of which those of outside are multiplied."""
    given = torch.ones(len(classes), dtype=DOUBLE) if given is None else given
    return given * torch.where(classes == 0, weight, 1.0)


def test_loss_of_scores_from_the_class_statistics() -> None:
    """From features to loss: the gradient to the features is that of finite differences."""
    statistics = vmf.ClassStatistics(3, 5).double()
    raw = torch.randn(6, 5, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    log_prior = torch.tensor([0.8, 0.1, 0.1], dtype=DOUBLE).log()

    def loss(raw: torch.Tensor) -> torch.Tensor:
        return losses.max_margin(statistics.score(normalize(raw, dim=1)), targets, log_prior)

    assert torch.autograd.gradcheck(loss, raw.requires_grad_())


@pytest.mark.parametrize("outside_weight", [1.0, 0.3, 0.0])
def test_hard_targets_equal_one_hot_soft_targets(outside_weight: float) -> None:
    scores, targets, weights = make()
    weights = with_outside(targets, outside_weight, weights)
    options = {"weights": weights, "reduction": "none"}
    hard = losses.cross_entropy(scores, targets, **options)
    soft = losses.cross_entropy(scores, one_hot(targets, 4).to(DOUBLE), **options)
    assert bool((hard > 0).any())
    torch.testing.assert_close(hard, soft)


def test_soft_targets_weigh_the_classes() -> None:
    scores, _, weights = make()
    soft = torch.rand(12, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(2)).softmax(1)
    each = [losses.cross_entropy(scores, torch.full((12,), c), reduction="none") for c in range(4)]
    wanted = (torch.stack(each, dim=1) * soft).sum(1)
    torch.testing.assert_close(losses.cross_entropy(scores, soft, reduction="none"), wanted)
    found = losses.cross_entropy(scores, soft, weights=weights)
    torch.testing.assert_close(found, (weights * wanted).sum() / weights.sum())


def test_without_outside_the_outside_spans_have_no_weight() -> None:
    scores, targets, _ = make()
    targets[:5] = 0
    entity = targets != 0
    found = losses.max_margin(scores, targets, weights=with_outside(targets, 0))
    torch.testing.assert_close(found, losses.max_margin(scores[entity], targets[entity]))


@pytest.mark.parametrize("soft", [False, True])
def test_outside_spans_count_as_much_as_they_weigh(soft: bool) -> None:
    """A mean in which an entity stands four times is one in which outside weighs a quarter."""
    scores, targets, _ = make()
    targets[:5] = 0
    times = torch.where(targets == 0, 1, 4)
    wanted = losses.max_margin(scores.repeat_interleave(times, 0), targets.repeat_interleave(times))
    given = one_hot(targets, 4).to(DOUBLE) if soft else targets
    found = losses.max_margin(scores, given, weights=with_outside(targets, 0.25))
    torch.testing.assert_close(found, wanted)
    assert float(found) != pytest.approx(float(losses.max_margin(scores, given)), rel=1e-3)


def test_classes_ruled_out_do_not_spoil_the_loss() -> None:
    scores = torch.tensor([[1.0, -math.inf, 0.5]], requires_grad=True)
    soft = torch.tensor([[0.7, 0.0, 0.3]])
    loss = losses.cross_entropy(scores, soft)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert bool(loss.isfinite()) and bool(gradient.isfinite().all())
    ignored = losses.cross_entropy(scores, torch.tensor([1]), weights=torch.zeros(1))
    assert ignored.item() == 0


def test_half_precision_is_raised() -> None:
    scores, targets, _ = make()
    found = losses.max_margin(scores.bfloat16(), targets)
    assert found.dtype == torch.float32
    wanted = losses.max_margin(scores.bfloat16().double(), targets)
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


def literal_supcon(z, classes, temperature) -> dict[int, float]:
    """The sum over positives of Khosla et al., Eq. 2, one pair at a time."""
    cosines = (z @ z.T).tolist()
    values = {}
    for i, own in enumerate(classes.tolist()):
        others = [a for a in range(len(z)) if a != i and classes[a] >= 0]
        positives = [a for a in others if classes[a] == own]
        if own < 0 or not positives:
            continue
        total = sum(math.exp(cosines[i][a] / temperature) for a in others)
        logs = [math.log(math.exp(cosines[i][p] / temperature) / total) for p in positives]
        values[i] = -sum(logs) / len(positives)
    return values


def features(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    z = normalize(torch.randn(n, 6, generator=generator, dtype=DOUBLE), dim=1)
    classes = torch.randint(-1, 4, (n,), generator=generator)
    classes[3] = 9  # alone in its class: no anchor, yet a contrast
    return z, classes


@pytest.mark.parametrize("outside_weight", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("chunk_size", [1, 7, 1024])
def test_supcon_matches_the_double_loop(chunk_size: int, outside_weight: float) -> None:
    z, classes = features(30)
    each = literal_supcon(z, classes, 0.1)
    assert 3 not in each and len(each) > 8
    options = {"chunk_size": chunk_size}
    for first in (None, torch.linspace(0, 2, 30, dtype=DOUBLE)):
        given = with_outside(classes, outside_weight, first)
        weighs = {i: float(given[i]) for i in each}
        wanted = {i: weighs[i] * loss for i, loss in each.items()}
        found = losses.supcon(z, classes, 0.1, weights=given, reduction="none", **options).tolist()
        assert found == pytest.approx([wanted.get(i, 0.0) for i in range(30)], rel=1e-12)
        mean = losses.supcon(z, classes, 0.1, weights=given, **options)
        assert float(mean) == pytest.approx(sum(wanted.values()) / sum(weighs.values()), rel=1e-12)


def test_supcon_gradients_do_not_depend_on_the_chunks() -> None:
    z, classes = features(14)
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.supcon(x, classes, 0.5, chunk_size=4), z)
    whole, parts = (
        torch.autograd.grad(losses.supcon(z, classes, chunk_size=size), z)[0] for size in (99, 3)
    )
    torch.testing.assert_close(whole, parts, rtol=1e-10, atol=1e-12)


def test_supcon_has_the_temperature_of_the_scores_by_default() -> None:
    z, classes = features(20)
    assert torch.equal(losses.supcon(z, classes), losses.supcon(z, classes, 0.07))
    assert not torch.equal(losses.supcon(z, classes), losses.supcon(z, classes, 0.08))


def test_supcon_ignores_autocast() -> None:
    z, classes = features(20)
    wanted = losses.supcon(z.float(), classes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses.supcon(z.float(), classes)
    assert torch.equal(found, wanted)


def test_supcon_keeps_no_square_matrix() -> None:
    """What the graph holds between forward and backward stays far below N^2 numbers."""
    n = 2000
    z = normalize(torch.randn(n, 8), dim=1).requires_grad_()
    held = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal held
        held += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = losses.supcon(z, torch.arange(n) % 5, chunk_size=100)
    loss.backward()
    assert held < n * n / 4


@pytest.mark.parametrize("n", [0, 2])
def test_nothing_to_learn_from_is_zero_with_a_graph(n: int) -> None:
    scores = torch.randn(n, 4, requires_grad=True)
    outside = torch.zeros(n, dtype=torch.int64)
    alone = torch.arange(n) + 1
    for loss in (
        losses.max_margin(scores, outside, weights=torch.zeros(n)),
        losses.cross_entropy(scores, torch.zeros(n, 4), weights=torch.zeros(n)),
        losses.supcon(scores, alone),
        losses.supcon(scores, outside - 1),
    ):
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, scores)
        assert gradient.shape == scores.shape and not bool(gradient.any())


def test_bad_input_gets_a_coded_error() -> None:
    scores, targets, _ = make()
    for call, found in [
        (lambda: losses.max_margin(scores, targets[:3]), r"M030.*\(3,\)"),
        (lambda: losses.cross_entropy(scores, torch.ones(12, 3)), r"M030.*\(12, 3\)"),
        (lambda: losses.cross_entropy(scores, targets, weights=torch.ones(2)), r"M031.*\(2,\)"),
        (lambda: losses.cross_entropy(scores, targets, reduction="median"), "M032.*'median'"),
        (lambda: losses.supcon(scores, targets[:3]), r"\(3,\)"),
        (lambda: losses.supcon(scores, targets, -1.0), "M025.*is -1.0"),
        (lambda: losses.supcon(scores, targets, 0.0), "M025.*is 0.0"),
    ]:
        with pytest.raises(MaralError, match=found):
            call()
