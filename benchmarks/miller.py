"""Miller's backward recurrence (Eq. 49-50), the paper's way to the von Mises-Fisher normaliser.

It needs integer orders, so an even dimension, and a sequential loop of many steps. The tests and the
benchmarks compare the package's expansion with it. Tensors are float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_normalizer(kappa: Tensor, dim: int) -> Tensor:
    """log C_q(kappa) for an even dimension q."""
    return -(dim / 2) * math.log(2 * math.pi) - log_scaled_bessel(kappa.square(), dim // 2 - 1)


def mean_resultant_length(kappa: Tensor, dim: int) -> Tensor:
    """A_q(kappa) for an even dimension q."""
    return kappa * bessel_ratio(kappa.square(), dim // 2 - 1)


def bessel_ratio(square: Tensor, order: int) -> Tensor:
    """r_v(t) by Miller's recurrence, in the ratio form that cannot overflow: r_{j-1} = 1 / (2j + t r_j)."""
    ratio = torch.zeros_like(square)
    for j in range(_start(square, order), order, -1):
        ratio = 1 / (2 * j + square * ratio)
    return ratio


def log_scaled_bessel(square: Tensor, order: int) -> Tensor:
    """log F_v(t) by Miller's recurrence, normalised by I_0 + 2 (I_1 + I_2 + ...) = exp(kappa)."""
    kappa = square.sqrt()
    ratio, tail, result = torch.zeros_like(square), torch.zeros_like(square), kappa.clone()
    for j in range(_start(square, order), 0, -1):
        ratio = 1 / (2 * j + square * ratio)
        tail = kappa * ratio * (1 + tail)
        if j <= order:
            result += ratio.log()
    return result - (1 + 2 * tail).log()


def _start(square: Tensor, order: int) -> int:
    """An order so high that I there is below rounding: I_n / I_0 ~ exp(-n^2 / 2 kappa)."""
    largest = float(square.detach().max()) ** 0.5 if square.numel() else 0.0
    return int(order + 60 + 10 * math.sqrt(order + largest))
