"""von Mises-Fisher numerics: normaliser, mean resultant length, class scores, running class statistics.

All functions compute in float64, whatever the dtype of their input; devices without float64 are not supported.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..errors import Errors, MaralError
from .bessel import bessel_ratio, log_scaled_bessel

PRIOR_FLOOR = 1e-8


def log_normalizer(kappa: Tensor, dim: int) -> Tensor:
    """Log normalising constant of the von Mises-Fisher density, log C_q(kappa) (Eq. 48).

    kappa (Tensor): Concentrations, any shape, >= 0.
    dim (int): Dimension q of the space, at least 2.
    RETURNS (Tensor): Same shape, dtype and device; differentiable any number of times.
    RAISES (MaralError): If dim is out of range.
    """
    _check(dim)
    log_bessel = log_scaled_bessel(kappa.double().square(), dim / 2 - 1)
    return (-(dim / 2) * math.log(2 * math.pi) - log_bessel).to(kappa.dtype)


def mean_resultant_length(kappa: Tensor, dim: int) -> Tensor:
    """Mean resultant length A_q(kappa) = I_{q/2}(kappa) / I_{q/2-1}(kappa), which is -d log C_q / d kappa.

    kappa (Tensor): Concentrations, any shape, >= 0.
    dim (int): Dimension q of the space, at least 2.
    RETURNS (Tensor): Same shape, dtype and device, in [0, 1); differentiable any number of times.
    RAISES (MaralError): If dim is out of range.
    """
    _check(dim)
    double = kappa.double()
    return (double * bessel_ratio(double.square(), dim / 2 - 1)).to(kappa.dtype)


def score(
    z: Tensor, mean_direction: Tensor, concentration: Tensor, temperature: float = 0.07
) -> Tensor:
    """Class scores rho(z, c) = log C_q(kappa_c) - log C_q(|kappa_c mu_c + z / tau|) (Eq. 6).

    The second concentration is taken through its square kappa^2 + 2 kappa mu.z / tau + |z|^2 / tau^2, in which log C_q is
    smooth, so the gradient is exact even where the sum of the two vectors vanishes. The norm of z is used as it is; rows of
    `mean_direction` count as unit vectors. The computation is in float64, which autocast does not change.

    z (Tensor): Span features, (N, q), unit norm.
    mean_direction (Tensor): Class mean directions mu, (K, q), unit norm.
    concentration (Tensor): Class concentrations kappa, (K,).
    temperature (float): tau, > 0.
    RETURNS (Tensor): Scores, (N, K), in the dtype of z, but float32 for half precision.
    RAISES (MaralError): If shapes or temperature do not fit.
    """
    _check_score(z, mean_direction, concentration, temperature)
    order = z.shape[1] / 2 - 1
    unit, kappa = z.double(), concentration.double()
    squares = kappa.square()
    # multiply the factors of mu.z into the few classes, not into the many spans
    classes = mean_direction.double() * (kappa * (2 / temperature)).unsqueeze(1)
    shifted = torch.addmm(squares, unit, classes.T)
    shifted = shifted + _SquaredNorm.apply(unit) / temperature**2
    rho = log_scaled_bessel(shifted.clamp_min(0.0), order) - log_scaled_bessel(squares, order)
    return rho.to(torch.promote_types(z.dtype, torch.float32))


class _SquaredNorm(torch.autograd.Function):
    """|z|^2 of rows, (N, 1); reads the rows once, and once more in the backward pass."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return torch.linalg.vector_norm(rows, dim=1, keepdim=True).square()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        return rows * (2 * gradients[0])


def estimate_concentration(mean_norm: Tensor, dim: int, maximum: float = 1e5) -> Tensor:
    """Concentration from the norm of a mean feature, kappa = R (q - R^2) / (1 - R^2) (Eq. 9).

    mean_norm (Tensor): R, any shape, in [0, 1]; values beyond count as 1.
    dim (int): Dimension q.
    maximum (float): Largest concentration returned.
    RETURNS (Tensor): Concentrations in [0, maximum], same shape and dtype.
    """
    norm = mean_norm.double().clamp(0.0, 1.0)
    rest = (1 - norm.square()).clamp_min(torch.finfo(torch.float64).tiny)
    return (norm * (dim - norm.square()) / rest).clamp_max(maximum).to(mean_norm.dtype)


def simplex_directions(
    n_classes: int, dim: int, generator: torch.Generator | None = None
) -> Tensor:
    """Unit vectors of a randomly rotated regular simplex: every pair has the cosine -1 / (K - 1).

    n_classes (int): K, at least 1.
    dim (int): Dimension q, at least K - 1.
    generator (torch.Generator): Source of the rotation; the global one if None.
    RETURNS (Tensor): Directions, (K, q), float32.
    RAISES (MaralError): If n_classes or dim is out of range.
    """
    if n_classes < 1 or dim < max(n_classes - 1, 1):
        raise MaralError(Errors.M023.format(n_classes=n_classes, dim=dim))
    n_axes = max(n_classes - 1, 1)
    rotation = torch.linalg.qr(torch.randn(dim, n_axes, generator=generator, dtype=torch.float64))[
        0
    ]
    if n_classes == 1:
        return rotation.T.float()
    # Helmert's contrasts: an orthonormal basis of the vectors whose entries sum to zero
    contrasts = torch.ones(n_classes, n_axes, dtype=torch.float64).triu()
    steps = torch.arange(1, n_classes, dtype=torch.float64)
    contrasts[1:].diagonal().copy_(-steps)
    contrasts /= (steps * (steps + 1)).sqrt()
    return normalize(contrasts @ rotation.T, dim=1).float()


class ClassStatistics(nn.Module):
    """Running mean feature of every class, and its von Mises-Fisher parameters (mu, kappa).

    The initial means form a random regular simplex: the features of a new model lie in a narrow cone, and means that merely
    follow them are nearly equal, so that no loss can pull them apart. All state is in buffers: saved with the model, but not
    trained.

    n_classes (int): K.
    dim (int): Feature dimension q, at least K - 1.
    temperature (float): tau of the score.
    pseudo_count (float): Number of samples that each mean counts for at the start and after `reset_counts`.
    start_norm (float): Norm of the initial means, in [0, 1).
    max_concentration (float): Upper bound of kappa.
    seed (int): Seed of the simplex's rotation.
    """

    mean: Tensor
    count: Tensor
    seen: Tensor
    prior: Tensor

    def __init__(
        self,
        n_classes: int,
        dim: int,
        *,
        temperature: float = 0.07,
        pseudo_count: float = 3000.0,
        start_norm: float = 0.9,
        max_concentration: float = 1e5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.pseudo_count = pseudo_count
        self.max_concentration = max_concentration
        directions = simplex_directions(n_classes, dim, torch.Generator().manual_seed(seed))
        self.register_buffer("mean", start_norm * directions)
        self.register_buffer("count", torch.full((n_classes,), pseudo_count, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(n_classes, dtype=torch.int64))
        self.register_buffer("prior", torch.full((n_classes,), 1 / n_classes))

    @property
    def direction(self) -> Tensor:
        """Mean directions mu, (K, q)."""
        return normalize(self.mean, dim=1)

    @property
    def concentration(self) -> Tensor:
        """Concentrations kappa, (K,), from the norms of the means (Eq. 9)."""
        norm = self.mean.double().norm(dim=1)
        kappa = estimate_concentration(norm, self.mean.shape[1], self.max_concentration)
        return kappa.to(self.mean.dtype)

    @torch.no_grad()
    def update(self, z: Tensor, classes: Tensor, memory: float | None = None) -> None:
        """Update the class means with a batch (Eq. 8); each stays the exact mean since the last reset.

        The mean of the batch has the weight n_c / N_c, its share of all samples including the pseudo-count.

        z (Tensor): Span features, (N, q); N may be 0.
        classes (Tensor): Class of every span, (N,), integers; negative ones are left out.
        memory (float): Maximum of the count after the update; once reached, the mean forgets old samples exponentially.
        RAISES (MaralError): If a class is not below the number of classes.
        """
        n_classes = len(self.count)
        if len(classes) and int(classes.max()) >= n_classes:
            raise MaralError(Errors.M026.format(found=int(classes.max()), n_classes=n_classes))
        member = classes.unsqueeze(1) == torch.arange(n_classes, device=classes.device)
        n_new = member.sum(0)
        # a matrix product, not a scatter: its sums are the same in every run, on a GPU too
        sums = member.double().T @ z.double()
        self.count += n_new
        mean = self.mean.double()
        share = self.count.clamp_min(1.0).unsqueeze(1)
        self.mean.copy_(mean + (sums - n_new.unsqueeze(1) * mean) / share)
        self.seen += n_new
        if memory is not None:
            self.count.clamp_(max=memory)

    def reset_counts(self) -> None:
        """Let each mean count for `pseudo_count` samples again, at the start of an epoch, to forget old features."""
        self.count.fill_(self.pseudo_count)

    def score(self, z: Tensor) -> Tensor:
        """Scores rho of all classes (Eq. 6).

        z (Tensor): Span features, (N, q), unit norm.
        RETURNS (Tensor): Scores, (N, K).
        """
        mean = self.mean.double()
        norm = mean.norm(dim=1)
        kappa = estimate_concentration(norm, mean.shape[1], self.max_concentration)
        direction = mean / norm.clamp_min(torch.finfo(torch.float64).tiny).unsqueeze(1)
        return score(z, direction, kappa, self.temperature)

    @torch.no_grad()
    def set_prior(self, weights: Tensor) -> None:
        """Set the class prior pi from counts or probabilities.

        weights (Tensor): One number >= 0 per class, (K,), not all 0. A class with 0 gets a tiny share, so that log pi is finite.
        RAISES (MaralError): If a weight is negative or not finite, all are 0, or there are not K weights.
        """
        share = torch.as_tensor(weights, device=self.prior.device).double()
        valid = share.shape == self.prior.shape and bool((share >= 0).all())
        if not valid or not 0 < float(share.sum()) < math.inf:
            raise MaralError(Errors.M027.format(found=share.tolist(), n_classes=len(self.prior)))
        share = (share / share.sum()).clamp_min(PRIOR_FLOOR)
        self.prior.copy_(share / share.sum())


def _check(dim: int) -> None:
    if dim < 2 or dim != int(dim):
        raise MaralError(Errors.M021.format(dim=dim))


def _check_score(z: Tensor, direction: Tensor, concentration: Tensor, temperature: float) -> None:
    shapes = (tuple(z.shape), tuple(direction.shape), tuple(concentration.shape))
    fits = z.dim() == 2 and direction.shape == (len(concentration), z.shape[1])
    if not fits or concentration.dim() != 1:
        raise MaralError(
            Errors.M024.format(z=shapes[0], direction=shapes[1], concentration=shapes[2])
        )
    _check(z.shape[1])
    if not temperature > 0:
        raise MaralError(Errors.M025.format(temperature=temperature))
