"""Theorem 1 on a toy problem: max-margin loss keeps imbalanced classes a regular simplex.

Five separable classes, 100 times as many samples in one as in each other, features either free on the sphere or those of a
small network. The temperature is 0.5: with the model's 0.07 the loss is down to 1e-5 long before its minimum, and where the
means stop then says nothing of the minimum. The prior is uniform: log frequencies tilt the minimum (last test).
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from spacy_maral.model.losses import cross_entropy, max_margin, supcon
from spacy_maral.model.vmf import ClassStatistics

SIZES = (500, 5, 5, 5, 5)
DIM = 16
TEMPERATURE = 0.5
SIMPLEX = -1 / (len(SIZES) - 1)


class Geometry(NamedTuple):
    off_simplex: float  # largest difference of a pair of class means from the simplex's cosine
    intra_class: float  # lowest mean cosine between two samples of one class
    closest: float  # largest cosine of two class means


def measure(z: Tensor, classes: Tensor) -> Geometry:
    sums = torch.stack([z[classes == c].sum(0) for c in range(len(SIZES))])
    n = torch.tensor(SIZES)
    intra = (sums.square().sum(1) - n) / (n * (n - 1))
    directions = normalize(sums, dim=1)
    rows, columns = torch.triu_indices(len(SIZES), len(SIZES), 1)
    cosines = (directions @ directions.T)[rows, columns]
    return Geometry(
        float((cosines - SIMPLEX).abs().max()), float(intra.min()), float(cosines.max())
    )


def train(
    loss: str, features: str, *, start: str = "simplex", prior_scale: float = 0.0, steps: int = 600
) -> Geometry:
    torch.manual_seed(0)
    classes = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    inputs = torch.randn(len(SIZES), 20)[classes] + 0.15 * torch.randn(len(classes), 20)
    free = nn.Parameter(torch.randn(len(classes), DIM))
    network = nn.Sequential(nn.Linear(20, 64), nn.GELU(), nn.Linear(64, DIM))
    head = nn.Linear(DIM, len(SIZES))
    statistics = ClassStatistics(len(SIZES), DIM, temperature=TEMPERATURE, pseudo_count=100.0)
    if start == "random":
        statistics.mean.copy_(0.9 * normalize(torch.randn(len(SIZES), DIM), dim=1))
    statistics.set_prior(torch.tensor(SIZES))
    log_prior = prior_scale * statistics.prior.log()
    parameters = [free] if features == "free" else list(network.parameters())
    rate = 0.02 if features == "free" else 0.005
    optimizer = torch.optim.Adam([*parameters, *head.parameters()], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        z = normalize(free if features == "free" else network(inputs), dim=1)
        if loss == "max_margin":
            value = max_margin(statistics.score(z), classes, log_prior)
        elif loss == "cross_entropy":
            value = cross_entropy(head(z), classes)
        else:
            value = supcon(z, classes, TEMPERATURE)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        statistics.reset_counts()
        statistics.update(z, classes)
    return measure(z.detach(), classes)


@pytest.mark.parametrize("features", ["free", "network"])
@pytest.mark.parametrize("start", ["simplex", "random"])
def test_max_margin_ends_in_a_simplex_of_compact_classes(features: str, start: str) -> None:
    found = train("max_margin", features, start=start)
    assert found.off_simplex < 0.02
    assert found.intra_class > 0.99


@pytest.mark.parametrize("features", ["free", "network"])
@pytest.mark.parametrize(("loss", "steps"), [("cross_entropy", 600), ("supcon", 120)])
def test_other_losses_do_not(loss: str, steps: int, features: str) -> None:
    """The same budget for cross-entropy; fewer steps for supcon, whose classes are as compact by then."""
    found = train(loss, features, steps=steps)
    assert found.off_simplex > 0.05


def test_log_frequencies_as_a_prior_tilt_the_minimum() -> None:
    """The rare classes flee the frequent one and near each other: the simplex needs a weak prior."""
    strong = train("max_margin", "network", prior_scale=1.0, steps=300)
    weak = train("max_margin", "network", prior_scale=0.1, steps=300)
    assert strong.closest > 0.2 > weak.closest
