"""von Mises-Fisher numerics against mpmath, scipy, finite differences and brute force."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ive
from torch.nn.functional import normalize

from benchmarks import miller
from spacy_maral.errors import MaralError
from spacy_maral.model import vmf
from spacy_maral.model.bessel import CPU_BLOCK

DIMS = (2, 3, 16, 64, 256, 1024)
KAPPAS = (0.0, 1e-6, 1e-3, 1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e7)
DOUBLE = torch.float64


def exact(kappa: float, dim: int) -> tuple[mpmath.mpf, mpmath.mpf]:
    """log C_q and A_q with 60 digits, from mpmath's own Bessel function."""
    with mpmath.workdps(60):
        half, k = mpmath.mpf(dim) / 2, mpmath.mpf(kappa)
        if kappa == 0:
            return mpmath.loggamma(half) - mpmath.log(2) - half * mpmath.log(mpmath.pi), mpmath.mpf(
                0
            )
        lower, upper = mpmath.besseli(half - 1, k), mpmath.besseli(half, k)
        log_c = (half - 1) * mpmath.log(k) - half * mpmath.log(2 * mpmath.pi) - mpmath.log(lower)
        return log_c, upper / lower


def assert_exact(log_c: float, length: float, kappa: float, dim: int) -> None:
    wanted_log, wanted_length = exact(kappa, dim)
    # far inside what is promised (1e-9 and 1e-8), so that a lost term of the expansion shows
    # log C_q passes through 0 (at q = 64 near kappa = 89), where only an absolute error has a meaning: 1e-12
    assert abs(log_c - wanted_log) <= 1e-12 + 1e-12 * abs(wanted_log), (dim, kappa)
    assert abs(length - wanted_length) <= 1e-12 * wanted_length, (dim, kappa)


@pytest.mark.parametrize("dim", DIMS)
def test_normalizer_and_length_match_mpmath_on_the_grid(dim: int) -> None:
    kappa = torch.tensor(KAPPAS, dtype=DOUBLE)
    logs = vmf.log_normalizer(kappa, dim)
    lengths = vmf.mean_resultant_length(kappa, dim)
    for log_c, length, k in zip(logs.tolist(), lengths.tolist(), KAPPAS, strict=True):
        assert_exact(log_c, length, k, dim)


def test_normalizer_and_length_match_mpmath_on_a_random_sweep() -> None:
    generator = np.random.default_rng(7)
    for dim in [
        *generator.integers(2, 65, 60).tolist(),
        *generator.integers(65, 2049, 60).tolist(),
    ]:
        kappa = 10 ** generator.uniform(-6, 7)
        tensor = torch.tensor(kappa, dtype=DOUBLE)
        log_c = float(vmf.log_normalizer(tensor, dim))
        assert_exact(log_c, float(vmf.mean_resultant_length(tensor, dim)), kappa, dim)


@pytest.mark.parametrize("dim", [2, 16, 64, 256, 1024])
def test_miller_matches_mpmath(dim: int) -> None:
    kappas = [k for k in KAPPAS if k <= 1e4]
    kappa = torch.tensor(kappas, dtype=DOUBLE)
    logs = miller.log_normalizer(kappa, dim)
    lengths = miller.mean_resultant_length(kappa, dim)
    for log_c, length, k in zip(logs.tolist(), lengths.tolist(), kappas, strict=True):
        assert_exact(log_c, length, k, dim)


def test_miller_matches_the_default_at_the_largest_concentration() -> None:
    kappa = torch.tensor([1e6, 1e7], dtype=DOUBLE)
    for name in ("log_normalizer", "mean_resultant_length"):
        found, reference = (getattr(module, name)(kappa, 64) for module in (vmf, miller))
        torch.testing.assert_close(found, reference, rtol=1e-12, atol=0)


def test_many_elements_equal_one_at_a_time() -> None:
    kappa = torch.logspace(-6, 7, 3 * CPU_BLOCK + 5, dtype=DOUBLE).reshape(1, -1)
    for function in (vmf.log_normalizer, vmf.mean_resultant_length):
        whole = function(kappa, 16)
        parts = [function(kappa[:, i : i + 1000], 16) for i in range(0, kappa.shape[1], 1000)]
        assert torch.equal(whole, torch.cat(parts, dim=1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_shape_are_kept(dtype: torch.dtype) -> None:
    for shape in [(), (0,), (2, 0), (2, 3, 4)]:
        kappa = torch.full(shape, 3.0, dtype=dtype)
        for function in (vmf.log_normalizer, vmf.mean_resultant_length):
            value = function(kappa, 64)
            assert value.shape == shape and value.dtype == dtype
            wanted = function(kappa.double(), 64).to(dtype)
            assert torch.equal(value, wanted)


@pytest.mark.parametrize("dim", [2, 16, 64, 256])
def test_gradients(dim: int) -> None:
    kappa = torch.tensor([0.3, 2.0, 17.0, 60.0], dtype=DOUBLE, requires_grad=True)
    for function in (vmf.log_normalizer, vmf.mean_resultant_length):
        assert torch.autograd.gradcheck(lambda k, f=function: f(k, dim), kappa)
        assert torch.autograd.gradgradcheck(lambda k, f=function: f(k, dim), kappa)


@pytest.mark.parametrize("dim", DIMS)
def test_derivatives_at_every_scale(dim: int) -> None:
    """d log C = -A and d^2 log C = -dA = -(1 - A^2 - (q - 1) A / kappa), the right side with mpmath's digits."""
    kappa = torch.tensor(KAPPAS, dtype=DOUBLE, requires_grad=True)
    (first,) = torch.autograd.grad(vmf.log_normalizer(kappa, dim).sum(), kappa, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), kappa)
    (slope,) = torch.autograd.grad(vmf.mean_resultant_length(kappa, dim).sum(), kappa)
    torch.testing.assert_close(second, -slope, rtol=1e-12, atol=0)
    for k, gradient, found in zip(KAPPAS, first.tolist(), slope.tolist(), strict=True):
        with mpmath.workdps(60):
            length = exact(k, dim)[1]
            wanted = mpmath.mpf(1) / dim
            if k:
                wanted = 1 - length**2 - (dim - 1) / mpmath.mpf(k) * length
            assert abs(gradient + length) <= 1e-8 * length, k
            assert abs(found - wanted) <= 1e-7 * wanted, k


def literal_score(z, mean_direction, concentration, temperature):
    """Eq. 6 word by word, from scipy's Bessel function in float64."""

    def log_c(kappa: np.ndarray) -> np.ndarray:
        order = z.shape[1] / 2 - 1
        log_bessel = np.log(ive(order, kappa)) + kappa
        return order * np.log(kappa) - (order + 1) * math.log(2 * math.pi) - log_bessel

    moved = concentration[:, None] * mean_direction + z[:, None, :] / temperature
    return log_c(concentration) - log_c(np.linalg.norm(moved, axis=2))


def random_classes(
    n: int, n_classes: int, dim: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n + dim)
    z = normalize(torch.randn(n, dim, generator=generator, dtype=DOUBLE), dim=1)
    directions = normalize(torch.randn(n_classes, dim, generator=generator, dtype=DOUBLE), dim=1)
    return z, directions, 10 ** torch.linspace(0.5, 3, n_classes, dtype=DOUBLE)


@pytest.mark.parametrize("dim", [3, 16, 64])
def test_score_is_equation_6(dim: int) -> None:
    z, directions, kappa = random_classes(20, 5, dim)
    wanted = literal_score(z.numpy(), directions.numpy(), kappa.numpy(), 0.07)
    np.testing.assert_allclose(vmf.score(z, directions, kappa), wanted, rtol=1e-9, atol=1e-9)
    # inputs rounded to float32 and a result rounded to float32: an absolute error below 1e-5
    single = vmf.score(z.float(), directions.float(), kappa.float())
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, wanted, rtol=0, atol=1e-5)


def test_score_of_half_precision_is_float32_and_ignores_autocast() -> None:
    z, directions, kappa = random_classes(6, 3, 16)
    half = z.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = vmf.score(half, directions.float(), kappa.float())
    assert found.dtype == torch.float32
    wanted = vmf.score(half.double(), directions, kappa)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dim", [3, 16, 64])
def test_score_gradients(dim: int) -> None:
    z, directions, kappa = random_classes(3, 2, dim)
    free = (1.3 * z).requires_grad_()  # the gradient is that of the formula for z of any norm
    inputs = (free, directions, kappa.requires_grad_())
    assert torch.autograd.gradcheck(vmf.score, inputs)
    assert torch.autograd.gradgradcheck(vmf.score, inputs)


def test_score_gradient_along_the_sphere_of_directions() -> None:
    z, directions, kappa = random_classes(4, 3, 8)
    raw = (2.5 * directions).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: vmf.score(z, normalize(r, dim=1), kappa), raw)


def test_score_where_the_moved_mean_vanishes() -> None:
    """z = -mu with kappa = 1 / tau: kappa' = 0, rho is log C(kappa) - log C(0) and smooth."""
    direction = torch.eye(4, dtype=DOUBLE)[:1]
    kappa = torch.tensor([2.0], dtype=DOUBLE)
    z = -direction.clone().requires_grad_()
    rho = vmf.score(z, direction, kappa, temperature=0.5)
    (gradient,) = torch.autograd.grad(rho.sum(), z)
    assert float(gradient.abs().max()) == 0
    zero = torch.zeros(1, dtype=DOUBLE)
    wanted = vmf.log_normalizer(kappa, 4) - vmf.log_normalizer(zero, 4)
    torch.testing.assert_close(rho[0].detach(), wanted)


@pytest.mark.parametrize("kappa", [0.0, 1e5, 1e7])
def test_score_at_the_bounds_is_finite(kappa: float) -> None:
    z, directions, _ = random_classes(9, 3, 64)
    z.requires_grad_()
    rho = vmf.score(z, directions, torch.full((3,), kappa, dtype=DOUBLE))
    (gradient,) = torch.autograd.grad(rho.sum(), z)
    assert bool(rho.isfinite().all()) and bool(gradient.isfinite().all())
    if kappa:  # so concentrated a class is a point: rho tends to mu.z / tau
        torch.testing.assert_close(
            rho.detach(), (z @ directions.T).detach() / 0.07, rtol=0, atol=0.02
        )
    else:
        assert float(rho.detach().std()) < 1e-12


@pytest.mark.parametrize(
    ("dim", "kappa", "cosine"), [(3, 5.0, 0.3), (8, 20.0, -0.6), (64, 80.0, 0.8)]
)
def test_score_is_the_log_of_a_mean_over_vmf_samples(dim: int, kappa: float, cosine: float) -> None:
    """E over z_y ~ vMF(mu, kappa) of exp(z.z_y / tau) is C_q(kappa) / C_q(kappa'), that is exp(rho)."""
    temperature = 0.5
    mu, z = np.eye(dim)[0], np.zeros(dim)
    z[:2] = cosine, math.sqrt(1 - cosine**2)
    samples = stats.vonmises_fisher(mu, kappa, seed=11).rvs(200_000)
    values = np.exp(samples @ z / temperature)
    error = values.std() / values.mean() / math.sqrt(len(values))
    tensors = (torch.from_numpy(x) for x in (z[None], mu[None], np.array([kappa])))
    rho = float(vmf.score(*tensors, temperature=temperature))
    assert error < 0.005
    assert abs(math.log(values.mean()) - rho) < 4 * error


def test_concentration_is_equation_9_and_bounded() -> None:
    norms = torch.tensor([0.0, 0.1, 0.5, 0.9, 0.99], dtype=DOUBLE)
    wanted = [r * (64 - r * r) / (1 - r * r) for r in norms.tolist()]
    found = vmf.estimate_concentration(norms, 64)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    # the estimate inverts A_q up to a few percent
    back = vmf.mean_resultant_length(found, 64)
    torch.testing.assert_close(back, norms, rtol=0.02, atol=0)
    extreme = vmf.estimate_concentration(torch.tensor([1.0, 1.5, 1 - 1e-16]), 64, maximum=500.0)
    assert extreme.tolist() == [500.0, 500.0, 500.0]


@pytest.mark.parametrize(("n_classes", "dim"), [(2, 1), (2, 2), (5, 4), (7, 64), (34, 64)])
def test_simplex_is_regular_and_seeded(n_classes: int, dim: int) -> None:
    directions = vmf.simplex_directions(n_classes, dim, torch.Generator().manual_seed(3))
    again = vmf.simplex_directions(n_classes, dim, torch.Generator().manual_seed(3))
    assert directions.dtype == torch.float32 and torch.equal(directions, again)
    wanted = torch.full((n_classes, n_classes), -1 / (n_classes - 1)).fill_diagonal_(1.0)
    torch.testing.assert_close(directions @ directions.T, wanted, rtol=0, atol=1e-6)
    other = vmf.simplex_directions(n_classes, dim, torch.Generator().manual_seed(4))
    if dim > 1:
        assert float((directions - other).abs().max()) > 0.01


def test_a_single_class_has_any_direction() -> None:
    only = vmf.simplex_directions(1, 3, torch.Generator().manual_seed(3))
    assert only.shape == (1, 3) and float(only.norm()) == pytest.approx(1)
    with pytest.raises(MaralError, match=r"M023.*0 class means"):
        vmf.simplex_directions(0, 3)


def test_running_means_are_the_mean_since_the_reset() -> None:
    generator = torch.Generator().manual_seed(5)
    statistics = vmf.ClassStatistics(4, 6, pseudo_count=10.0)
    for _ in range(2):
        start = statistics.mean.double().clone()
        batches = []
        for size in (5, 0, 1, 40):
            z = normalize(torch.randn(size, 6, generator=generator), dim=1)
            classes = torch.randint(-1, 3, (size,), generator=generator)  # class 3 never comes
            statistics.update(z, classes)
            batches.append((z.double(), classes))
        z, classes = (torch.cat(parts) for parts in zip(*batches, strict=True))
        for c in range(4):
            own = z[classes == c]
            wanted = (10 * start[c] + own.sum(0)) / (10 + len(own))
            torch.testing.assert_close(statistics.mean[c].double(), wanted, rtol=0, atol=1e-6)
            assert float(statistics.count[c]) == 10 + len(own)
        statistics.reset_counts()
        assert statistics.count.tolist() == [10.0] * 4
    assert int(statistics.seen[3]) == 0 and torch.equal(
        statistics.mean[3], vmf.ClassStatistics(4, 6).mean[3]
    )


def test_without_pseudo_count_the_first_batch_replaces_the_start() -> None:
    statistics = vmf.ClassStatistics(2, 3, pseudo_count=0.0)
    before = statistics.mean[1].clone()
    statistics.update(torch.eye(3)[:2], torch.zeros(2, dtype=torch.int64))
    assert statistics.mean[0].tolist() == [0.5, 0.5, 0.0]
    assert torch.equal(statistics.mean[1], before)
    # a single span, too
    statistics.update(torch.eye(3)[2:], torch.ones(1, dtype=torch.int64))
    assert statistics.mean[1].tolist() == [0.0, 0.0, 1.0]


def test_memory_caps_the_counts() -> None:
    statistics = vmf.ClassStatistics(2, 3, pseudo_count=4.0)
    statistics.update(torch.eye(3), torch.tensor([0, 0, 1]), memory=5.0)
    assert statistics.count.tolist() == [5.0, 5.0] and statistics.seen.tolist() == [2, 1]


def test_statistics_record_no_gradient_and_survive_a_round_trip() -> None:
    statistics = vmf.ClassStatistics(3, 8, temperature=0.1)
    z = normalize(torch.randn(5, 8, requires_grad=True), dim=1)
    statistics.update(z, torch.tensor([0, 1, 2, 0, -1]))
    statistics.set_prior(torch.tensor([3, 1, 0]))
    assert not statistics.mean.requires_grad and not list(statistics.parameters())
    other = vmf.ClassStatistics(3, 8, temperature=0.1, seed=9)
    other.load_state_dict(statistics.state_dict())
    for name in ("mean", "count", "seen", "prior"):
        assert torch.equal(getattr(statistics, name), getattr(other, name))
    assert torch.equal(statistics.score(z), other.score(z))


def test_statistics_start_as_a_spread_simplex_of_concentrated_classes() -> None:
    """The mean of unit vectors is shorter than one; 0.9 is a concentration of 0.9 (q - 0.81) / 0.19."""
    statistics = vmf.ClassStatistics(4, 16)
    norms = statistics.mean.norm(dim=1)
    torch.testing.assert_close(norms, torch.full((4,), 0.9), rtol=0, atol=1e-6)
    assert statistics.concentration.tolist() == pytest.approx(
        [0.9 * (16 - 0.81) / 0.19] * 4, rel=1e-5
    )


def test_counts_and_probabilities_give_the_same_prior() -> None:
    """Also to a class that has no spans."""
    statistics = vmf.ClassStatistics(3, 8)
    statistics.set_prior(torch.tensor([0.75, 0.25, 0]))
    share = statistics.prior.clone()
    assert share.tolist() == pytest.approx([0.75, 0.25, vmf.PRIOR_FLOOR], rel=1e-6)
    statistics.set_prior(torch.tensor([3e6, 1e6, 0]))
    torch.testing.assert_close(statistics.prior, share, rtol=1e-6, atol=0)


def test_statistics_score_follows_from_direction_and_concentration() -> None:
    statistics = vmf.ClassStatistics(3, 8, start_norm=0.5)
    z = normalize(torch.randn(4, 8), dim=1)
    wanted = vmf.score(z, statistics.direction, statistics.concentration, 0.07)
    torch.testing.assert_close(statistics.score(z), wanted, rtol=0, atol=1e-5)
    assert statistics.concentration.tolist() == pytest.approx([0.5 * (8 - 0.25) / 0.75] * 3)


def test_identical_features_keep_the_concentration_bounded() -> None:
    statistics = vmf.ClassStatistics(2, 8, pseudo_count=0.0, max_concentration=1000.0)
    z = torch.eye(8)[:1].expand(6, 8)
    statistics.update(z, torch.zeros(6, dtype=torch.int64))
    assert float(statistics.concentration[0]) == 1000.0
    assert bool(statistics.score(z).isfinite().all())


def test_prior_is_normalised_and_its_log_finite() -> None:
    statistics = vmf.ClassStatistics(3, 8)
    assert statistics.prior.tolist() == pytest.approx([1 / 3] * 3)
    statistics.set_prior(torch.tensor([90, 10, 0]))
    assert statistics.prior.tolist() == pytest.approx([0.9, 0.1, 0.0], abs=1e-6)
    assert bool(statistics.prior.log().isfinite().all())


def test_bad_input_gets_a_coded_error() -> None:
    one = torch.ones(1)
    statistics = vmf.ClassStatistics(2, 4)
    for call, found in [
        (lambda: vmf.log_normalizer(one, 1), "M021.*is 1,"),
        (lambda: vmf.score(torch.ones(2, 3), torch.ones(4, 5), torch.ones(4)), r"M024.*\(4, 5\)"),
        (lambda: vmf.score(torch.ones(2, 3), torch.ones(4, 3), torch.ones(4), 0.0), "M025.*is 0.0"),
        (lambda: vmf.simplex_directions(8, 6), "M023.*8 class means"),
        (lambda: statistics.update(torch.ones(1, 4), torch.tensor([2])), "M026.*Class 2"),
        (lambda: statistics.set_prior(torch.tensor([1.0, -1.0])), "M027.*-1.0"),
        (lambda: statistics.set_prior(torch.zeros(2)), "0.0"),
        (lambda: statistics.set_prior(torch.tensor([1.0, math.nan])), "nan"),
        (lambda: statistics.set_prior(torch.tensor([1.0, math.inf])), "inf"),
        (lambda: statistics.set_prior(torch.ones(3)), "M027.*over 2 classes"),
    ]:
        with pytest.raises(MaralError, match=found):
            call()
