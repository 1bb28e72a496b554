"""vMF scores of spans and their gradients, by our function and by Miller's recurrence.

The other side is Miller's recurrence with enough steps for the accuracy of the design. The table
also has the paper's recurrence of 2v steps, and the errors of all three against mpmath.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from spacy_maral.model import vmf

from .. import literal, miller
from ..setting import Setting
from ..timing import alternate, compare

N_CLASSES = 7
DIM = 64
TEMPERATURE = 0.07
KAPPAS = (20.0, 2000.0)
CHECKED = (1.0, 14.0, 50.0, 200.0, 1000.0, 1e4, 1e5)

Score = Callable[[Tensor, Tensor, Tensor], Tensor]


class MillerLog(torch.autograd.Function):
    """log F_v(t) by Miller's recurrence, with the derivative r_v / 2, of one more recurrence."""

    @staticmethod
    def forward(ctx: Any, square: Tensor) -> Tensor:
        ctx.save_for_backward(square)
        return miller.log_scaled_bessel(square, DIM // 2 - 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (square,) = ctx.saved_tensors
        return gradients[0] * miller.bessel_ratio(square, DIM // 2 - 1) * 0.5


def miller_score(z: Tensor, mu: Tensor, kappa: Tensor) -> Tensor:
    """`vmf.score` by Miller's recurrence."""
    unit, squares = z.double(), kappa.double().square()
    shifted = squares + (unit @ mu.double().T) * (kappa.double() * (2 / TEMPERATURE))
    shifted = shifted + unit.square().sum(1, keepdim=True) / TEMPERATURE**2
    return (MillerLog.apply(shifted) - MillerLog.apply(squares)).float()


def our_score(z: Tensor, mu: Tensor, kappa: Tensor) -> Tensor:
    """`vmf.score` without change."""
    return vmf.score(z, mu, kappa, TEMPERATURE)


def literal_score(z: Tensor, mu: Tensor, kappa: Tensor) -> Tensor:
    """The score of the literal transcription, with 2v steps."""
    return literal.scores(z, mu, kappa.double())


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the case."""
    generator = torch.Generator().manual_seed(0)
    n_spans = setting.sizes.vmf_spans
    z = normalize(torch.randn(n_spans, DIM, generator=generator), dim=1).requires_grad_()
    mu = normalize(torch.randn(N_CLASSES, DIM, generator=generator), dim=1)
    kappa = torch.logspace(*np.log10(KAPPAS).tolist(), N_CLASSES)

    def trial(score: Score) -> Callable[[], float]:
        def once() -> float:
            z.grad = None
            score(z, mu, kappa).logsumexp(1).mean().backward()
            return 1.0

        return once

    trials = alternate(
        {
            "ours": trial(our_score),
            "other": trial(miller_score),
            "literal": trial(literal_score),
        },
        setting.repeats,
    )
    row = compare(trials, unit="s", rate=False)
    return row | {
        "other_is": "Miller's recurrence to the design's accuracy",
        "ratio_to_2v_steps": compare(trials, unit="s", other="literal")["ratio"],
        "spans": n_spans,
        "classes": N_CLASSES,
        "dim": DIM,
        "kappa": list(KAPPAS),
        "tables": {"relative error against mpmath": accuracy()},
    }


def accuracy() -> list[list[Any]]:
    """Relative error of log C_q and A_q of each side, by kappa."""
    rows: list[list[Any]] = [
        [
            "kappa",
            "log C ours",
            "log C Miller",
            "log C 2v steps",
            "A ours",
            "A Miller",
            "A 2v steps",
        ]
    ]
    for value in CHECKED:
        kappa = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        by_literal = literal.log_constant(kappa, DIM)
        by_literal.backward()
        assert kappa.grad is not None
        found = [
            float(vmf.log_normalizer(kappa.detach(), DIM)),
            float(miller.log_normalizer(kappa.detach(), DIM)),
            float(by_literal),
            float(vmf.mean_resultant_length(kappa.detach(), DIM)),
            float(miller.mean_resultant_length(kappa.detach(), DIM)),
            -float(kappa.grad),
        ]
        wanted = exact(value)
        errors = [abs(x / wanted[i // 3] - 1) for i, x in enumerate(found)]
        rows.append([f"{value:g}", *(f"{error:.0e}" for error in errors)])
    return rows


def exact(kappa: float) -> tuple[float, float]:
    """log C_q and A_q with 50 digits."""
    with mpmath.workdps(50):
        x, order = mpmath.mpf(kappa), mpmath.mpf(DIM) / 2 - 1
        here, above = mpmath.besseli(order, x), mpmath.besseli(order + 1, x)
        log_c = order * mpmath.log(x) - (order + 1) * mpmath.log(2 * mpmath.pi) - mpmath.log(here)
        return float(log_c), float(above / here)
