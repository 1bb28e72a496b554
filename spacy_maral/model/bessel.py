"""The one function behind the von Mises-Fisher density: F_v(t) = kappa^-v I_v(kappa) with t = kappa^2.

F_v is smooth and positive for t >= 0, so nothing here is singular at kappa = 0. With the order v = q/2 - 1:

    log C_q(kappa) = -(q/2) log 2 pi - log F_v(t)
    A_q(kappa)     = kappa r_v(t),   r_v = F_{v+1} / F_v,   d log F_v / dt = r_v / 2

log F_v comes from the uniform asymptotic (Debye) expansion. Its error depends only on p = v / sqrt(v^2 + t) in [0, 1] and on
the order, hence it covers every kappa once the order is large. Small orders are evaluated at a shifted order and brought
down by the recurrence F_{j-1} = 2j F_j + t F_{j+1}, in which every term is positive. There are no branches on the data.
All tensors are float64. The paper's method, Miller's recurrence (Eq. 49-50), is in the tests and the benchmarks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor

# lowest order at which the expansion is used: its ten terms leave an error of 2e-15 there
DEBYE_ORDER = 24
DEBYE_TERMS = 10
DEBYE_TOLERANCE = 1e-15
# elements per pass on a CPU, few enough for the temporaries to stay in the cache
CPU_BLOCK = 16384


def log_scaled_bessel(square: Tensor, order: float) -> Tensor:
    """log F_v(t) = log(kappa^-v I_v(kappa)) as a function of t = kappa^2.

    square (Tensor): t, any shape, float64, in [0, 1e24].
    order (float): v, a multiple of 1/2, at least 0.
    RETURNS (Tensor): Same shape; differentiable any number of times.
    """
    return _LogScaledBessel.apply(square, order)


def bessel_ratio(square: Tensor, order: float) -> Tensor:
    """r_v(t) = F_{v+1}(t) / F_v(t) = I_{v+1}(kappa) / (kappa I_v(kappa)) as a function of t = kappa^2.

    square (Tensor): t, any shape, float64, in [0, 1e24].
    order (float): v, a multiple of 1/2, at least 0.
    RETURNS (Tensor): Same shape; differentiable any number of times.
    """
    return _blockwise(lambda block: _debye_ratios(block, order)[-1], square)


class _LogScaledBessel(torch.autograd.Function):
    """Saves only t for the backward pass, in which d log F_v / dt = r_v / 2."""

    @staticmethod
    def forward(ctx: Any, square: Tensor, order: float) -> Tensor:
        ctx.save_for_backward(square)
        ctx.order = order
        return _blockwise(lambda block: _debye_log(block, order), square)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (square,) = ctx.saved_tensors
        return gradients[0] * bessel_ratio(square, ctx.order) * 0.5, None


def _debye_log(square: Tensor, order: float) -> Tensor:
    """log F_v(t)."""
    top = order + _n_shifts(order)
    radius = (square + top * top).sqrt()
    inverse = top / radius
    series = _evaluate(_debye_series(top).coef, inverse)
    result = radius - top * (radius + top).log() - 0.5 * (radius * (2 * math.pi)).log() + series
    if top > order:
        product = torch.ones_like(square)
        for ratio in _debye_ratios(square, order)[1:]:
            product = product * ratio
        result = result - product.log()
    return result


def _debye_ratios(square: Tensor, order: float) -> list[Tensor]:
    """r_v at the order of the expansion, then at each lower order down to the requested one."""
    top = order + _n_shifts(order)
    radius = (square + top * top).sqrt()
    inverse = top / radius
    slope = _evaluate(_debye_slope(top).coef, inverse)
    ratios = [1 / (radius + top) - (0.5 + slope) / (square + top * top)]
    for step in range(_n_shifts(order)):
        ratios.append(1 / (2 * (top - step) + square * ratios[-1]))
    return ratios


def _n_shifts(order: float) -> int:
    return max(0, math.ceil(DEBYE_ORDER - order))


def _evaluate(coefficients: Any, x: Tensor) -> Tensor:
    """Evaluate a polynomial by Horner's rule; coefficients begin with the constant."""
    result = torch.full_like(x, coefficients[-1])
    in_place = not (torch.is_grad_enabled() and x.requires_grad)
    for coefficient in coefficients[-2::-1]:
        result = result.mul_(x).add_(coefficient) if in_place else result * x + coefficient
    return result


def _blockwise(function: Callable[[Tensor], Tensor], square: Tensor) -> Tensor:
    """Apply an elementwise function; on a CPU, block by block, in blocks that fit its cache."""
    taped = torch.is_grad_enabled() and square.requires_grad
    if taped or square.device.type != "cpu" or square.numel() <= CPU_BLOCK:
        return function(square)
    blocks = square.reshape(-1).split(CPU_BLOCK)
    return torch.cat([function(block) for block in blocks]).view(square.shape)


@lru_cache(maxsize=1)
def _debye_polynomials() -> list[dict[int, Fraction]]:
    """Coefficients of D_k(p) in log sum_k U_k(p) / v^k = sum_k D_k(p) / v^k, with U_k as in DLMF 10.41(ii)."""
    debye = [{0: Fraction(1)}]
    for _ in range(DEBYE_TERMS):
        following: dict[int, Fraction] = {}
        for power, value in debye[-1].items():
            rise = value * (Fraction(power, 2) + Fraction(1, 8 * (power + 1)))
            fall = value * (Fraction(power, 2) + Fraction(5, 8 * (power + 3)))
            following[power + 1] = following.get(power + 1, Fraction(0)) + rise
            following[power + 3] = following.get(power + 3, Fraction(0)) - fall
        debye.append(following)
    logs: list[dict[int, Fraction]] = [{}]
    for k in range(1, DEBYE_TERMS + 1):
        row = {power: k * value for power, value in debye[k].items()}
        for j in range(1, k):
            for left, a in logs[j].items():
                for right, b in debye[k - j].items():
                    row[left + right] = row.get(left + right, Fraction(0)) - j * a * b
        logs.append({power: value / k for power, value in row.items()})
    return logs


@lru_cache(maxsize=64)
def _debye_series(order: float) -> Polynomial:
    """The expansion's logarithm for one order as the shortest polynomial in p on [0, 1] within the tolerance."""
    degree = 3 * DEBYE_TERMS
    sums = [Fraction(0)] * (degree + 1)
    for k, row in enumerate(_debye_polynomials()):
        for power, value in row.items():
            sums[power] += value / Fraction(order) ** k
    exact = Polynomial([float(value) for value in sums])
    chebyshev = Chebyshev.interpolate(exact, degree, domain=[0, 1]).trim(DEBYE_TOLERANCE)
    return chebyshev.convert(kind=Polynomial)


@lru_cache(maxsize=64)
def _debye_slope(order: float) -> Polynomial:
    """p d/dp of the series."""
    return Polynomial([0, 1]) * _debye_series(order).deriv()
