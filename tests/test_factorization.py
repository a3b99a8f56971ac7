import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_cases import EPS, far, normal, with_spectrum

from subriem.errors import InputError
from subriem.factorization import (
    NumericalRank,
    SpectralFactor,
    TriangularFactor,
    condition_estimate,
    decide_rank,
    gram_rank,
    gram_spectrum,
    jacobian_rank,
    jacobian_spectrum,
    orthogonal_triangle,
)

SHAPES = [(6, 9), (9, 6), (6, 6), (1, 4), (4, 1), (1, 1)]

# ---------------------------------------------------------------------- the decision


def test_a_decision_and_its_evidence():
    values = np.array([8.0, 2.0, 1e-3, 1e-9])
    rank = decide_rank(values, size=10, eps=1e-16, tolerance=1e-6)
    assert rank == 3
    assert isinstance(rank, int)
    assert rank.tolerance == pytest.approx(8e-6, rel=1e-15)
    assert rank.gap == pytest.approx(1e6, rel=1e-12)
    assert rank.margin == pytest.approx(125.0, rel=1e-12)
    assert rank.resolution == pytest.approx(8e-15, rel=1e-12)
    assert not rank.full
    assert np.array_equal(rank.singular_values, values)
    assert repr(rank) == "NumericalRank(3 of 4, gap 1e+06, tolerance 8.0e-06)"


def test_a_rank_is_a_number():
    rank = decide_rank(np.array([2.0, 1.0]), size=2, eps=EPS)
    assert rank + 1 == 3
    assert list(range(rank)) == [0, 1]
    assert {2: "two"}[rank] == "two"
    for copied in (pickle.loads(pickle.dumps(rank)), copy.copy(rank), copy.deepcopy(rank)):
        assert type(copied) is NumericalRank
        assert int(copied) == 2
        assert repr(copied) == repr(rank)
        assert (copied.full, copied.gap, copied.method) == (True, math.inf, "svd")


def test_default_tolerances_are_the_rounding_of_the_method():
    values = np.array([2.0, 1.0])
    assert decide_rank(values, size=7, eps=EPS).tolerance == pytest.approx(14 * EPS)
    by_gram = decide_rank(values, size=7, eps=EPS, method="gram")
    assert by_gram.tolerance == pytest.approx(2 * math.sqrt(7 * EPS))
    assert by_gram.method == "gram"


def test_a_tolerance_below_the_resolution_does_not_count_noise():
    values = np.array([1.0, 1e-9])
    assert decide_rank(values, size=2, eps=EPS, method="gram", tolerance=1e-12) == 1
    assert decide_rank(values, size=2, eps=EPS, method="gram", absolute=1e-12) == 1
    assert decide_rank(values, size=2, eps=EPS, method="svd", tolerance=1e-12) == 2


def test_a_value_at_the_tolerance_counts_as_zero():
    values = np.array([1.0, 0.5, 0.25])
    assert decide_rank(values, size=3, eps=EPS, tolerance=0.25) == 2
    assert decide_rank(values, size=3, eps=EPS, absolute=0.5) == 1
    assert decide_rank(values, size=3, eps=EPS, absolute=5.0) == 0


def test_absolute_is_not_scaled():
    values = np.array([100.0, 1.0, 0.01])
    assert decide_rank(values, size=3, eps=EPS, absolute=0.5) == 2
    assert decide_rank(values, size=3, eps=EPS, tolerance=0.5) == 1


def test_nothing_and_zeros():
    empty = decide_rank(np.array([]), size=3, eps=EPS)
    assert (int(empty), empty.full, empty.gap) == (0, True, math.inf)
    zeros = decide_rank(np.zeros(3), size=3, eps=EPS)
    assert (int(zeros), zeros.full, zeros.gap, zeros.tolerance) == (0, False, math.inf, 0.0)


@given(
    st.lists(st.floats(1e-12, 1.0), min_size=1, max_size=6),
    st.integers(-200, 200),
    st.one_of(st.none(), st.floats(1e-14, 2.0)),
    st.sampled_from(["svd", "gram"]),
)
@settings(max_examples=150, deadline=None)
def test_decisions_do_not_see_the_scale(values, exponent, tolerance, method):
    values = np.sort(values)[::-1]
    options = {"size": 8, "eps": EPS, "tolerance": tolerance, "method": method}
    one, other = decide_rank(values, **options), decide_rank(values * 2.0**exponent, **options)
    assert int(one) == int(other)
    assert one.gap == other.gap
    assert one.margin == pytest.approx(other.margin, rel=1e-14)
    assert (one.margin > 1) == (int(one) > 0)
    assert one.gap >= 1 or int(one) == 0


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_a_larger_tolerance_never_finds_more(one, other):
    values = np.array([1.0, 0.7, 0.3, 0.1, 1e-5, 1e-18])
    low, high = sorted((one, other))
    ranks = [int(decide_rank(values, size=6, eps=EPS, tolerance=t)) for t in (low, high)]
    assert ranks[0] >= ranks[1]


# ---------------------------------------------------------------------- spectra


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lost", [0, 1, 3])
def test_spectra(shape, lost):
    rank = max(0, min(shape) - lost)
    values = np.linspace(3.0, 1.0, rank)
    matrix = with_spectrum(*shape, values)
    pseudo = torch.linalg.pinv(matrix, rtol=1e-10)
    v = normal(2, 3, shape[0])
    factors = [jacobian_spectrum(matrix)]
    if shape[0] <= shape[1]:
        factors.append(gram_spectrum(matrix @ matrix.mT))
    for factor in factors:
        # Vectors that D D' gives for lost directions have its resolution.
        close = 1e2 * EPS
        assert factor.rank == int(factor.decision) == rank
        assert factor.left.shape == (shape[0], rank)
        assert factor.lost.shape == (shape[0], min(shape) - rank)
        assert factor.values.tolist() == pytest.approx(values.tolist(), rel=1e-14)
        basis = torch.cat([factor.left, factor.lost], dim=1)
        assert (basis.mT @ basis - torch.eye(min(shape)).double()).norm() <= close
        assert (factor.lost.mT @ matrix).norm() <= close * 3
        assert (factor.project(v) - v @ (matrix @ pseudo).mT).norm() <= close * v.norm()
        assert (factor.solve(v) - v @ (pseudo.mT @ pseudo)).norm() <= close * v.norm()
        assert factor.project(v[0, 0]).shape == (shape[0],)
        assert torch.allclose(factor.solve(v[0, 0]), factor.solve(v)[0, 0], rtol=1e-12, atol=1e-14)
        expected = (values[0] / values[-1]) ** 2 if rank else math.inf
        assert factor.condition == pytest.approx(expected, rel=1e-12)
    assert [f.method for f in factors] == ["svd", "eigendecomposition"][: len(factors)]


@pytest.mark.parametrize("shape", SHAPES)
def test_ranks_are_those_of_the_spectra(shape):
    for values in (np.linspace(3.0, 1.0, min(shape)), [2.0], []):
        matrix = with_spectrum(*shape, values)
        rank = jacobian_rank(matrix)
        assert int(rank) == len(values)
        assert rank.method == "svd"
        assert rank.full == (len(values) == min(shape))
        spectrum = jacobian_spectrum(matrix).decision
        assert rank.singular_values == pytest.approx(spectrum.singular_values, abs=1e-14)
        gram = gram_rank(matrix @ matrix.mT)
        assert int(gram) == len(values)
        assert gram.method == "gram"
        assert len(gram.singular_values) == shape[0]


def test_tolerances_reach_the_decision():
    matrix = with_spectrum(4, 6, [2.0, 1.0, 1e-3, 1e-5])
    gram = matrix @ matrix.mT
    for rank, spectrum, argument in (
        (jacobian_rank, jacobian_spectrum, matrix),
        (gram_rank, gram_spectrum, gram),
    ):
        assert int(rank(argument)) == spectrum(argument).rank == 4
        assert int(rank(argument, 1e-4)) == spectrum(argument, 1e-4).rank == 3
        assert int(rank(argument, absolute=1.5)) == spectrum(argument, absolute=1.5).rank == 1
        assert spectrum(argument, 1e-4).lost.shape == (4, 1)


def test_the_jacobian_resolves_what_the_gram_matrix_loses():
    values = [1.0, 1e-4, 1e-9]
    matrix = with_spectrum(3, 5, values)
    assert int(gram_rank(matrix @ matrix.mT)) == 2
    found = jacobian_rank(matrix)
    assert int(found) == 3
    assert found.singular_values.tolist() == pytest.approx(values, rel=1e-6)


def test_single_precision():
    matrix = with_spectrum(4, 6, [2.0, 1.0, 0.5, 1e-5])
    single = matrix.float()
    assert int(jacobian_rank(single)) == 4
    assert int(gram_rank(single @ single.mT)) == 3
    assert jacobian_rank(single).resolution == pytest.approx(12 * 2.0**-23, rel=1e-6)
    spectrum = jacobian_spectrum(single)
    assert spectrum.left.dtype == spectrum.values.dtype == torch.float32
    assert spectrum.decision.singular_values.dtype == np.float64


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "function", [gram_rank, gram_spectrum, jacobian_rank, jacobian_spectrum, orthogonal_triangle]
)
def test_matrices_that_are_not_finite(function, bad):
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[1, 1] = bad
    with pytest.raises(InputError, match=r"(Gram matrix D D'|Jacobian D) has entries that are not"):
        function(matrix)


# ---------------------------------------------------------------------- triangles


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 4), (4, 9)])
def test_orthogonal_triangle(shape):
    matrix = normal(*shape)
    lower = orthogonal_triangle(matrix)
    assert torch.equal(lower, lower.tril())
    assert bool((lower.diagonal() > 0).all())
    assert far(lower, torch.linalg.cholesky(matrix @ matrix.mT)) <= 1e4 * EPS
    assert far(lower @ lower.mT, matrix @ matrix.mT) <= 20 * EPS


def test_orthogonal_triangle_keeps_the_digits_that_the_gram_matrix_loses():
    values = np.logspace(0, -11, 5)
    lower = orthogonal_triangle(with_spectrum(5, 8, values))
    found = torch.linalg.svdvals(lower)
    assert found.tolist() == pytest.approx(values.tolist(), rel=1e-4)


@pytest.mark.parametrize("shape", [(4,), (1, 4), (3, 4), (2, 3, 4), (0, 4)])
def test_triangular_solve(shape):
    matrix = normal(4, 6)
    gram = matrix @ matrix.mT
    factor = TriangularFactor(torch.linalg.cholesky(gram), 1.0)
    rhs = normal(*shape)
    found = factor.solve(rhs)
    assert found.shape == rhs.shape
    assert (found @ gram - rhs).norm() <= 1e3 * EPS * (1 + rhs.norm())
    assert torch.equal(factor.project(rhs), rhs)
    assert (factor.rank, factor.method, factor.damping) == (4, "cholesky", 0.0)


@given(st.integers(1, 12), st.floats(0.0, 7.0), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_condition_is_estimated_from_below_and_not_far(size, decades, seed):
    values = np.logspace(0, -decades, size) if size > 1 else np.array([1.0])
    matrix = with_spectrum(size, size + 3, values, seed=seed)
    exact = (values[0] / values[-1]) ** 2
    estimate = condition_estimate(orthogonal_triangle(matrix))
    assert estimate <= exact * (1 + 1e-6 + 1e2 * EPS * math.sqrt(exact))
    assert estimate >= exact / 20


@pytest.mark.parametrize("scale", [1e-60, 1e-8, 1e8, 1e60])
def test_condition_does_not_see_the_scale(scale):
    lower = orthogonal_triangle(with_spectrum(5, 8, [4.0, 3.0, 2.0, 1.5, 1.0]))
    estimate = condition_estimate(lower)
    assert condition_estimate(scale * lower) == pytest.approx(estimate, rel=1e-10)
    # Six iterations: from below, within a small factor.
    assert 8.0 <= estimate <= 16.0 * (1 + 1e-9)


def test_condition_of_a_singular_triangle():
    assert condition_estimate(torch.diag(torch.tensor([1.0, 0.0]).double())) == math.inf
    assert condition_estimate(torch.tensor([[5.0]])) == pytest.approx(1.0, rel=1e-6)


def test_factors_are_plain_data():
    matrix = normal(3, 5)
    for factor in (
        jacobian_spectrum(matrix),
        TriangularFactor(orthogonal_triangle(matrix), 2.0, "orthogonal"),
    ):
        again = pickle.loads(pickle.dumps(factor))
        assert type(again) in (SpectralFactor, TriangularFactor)
        assert (again.rank, again.method) == (factor.rank, factor.method)
        assert torch.equal(again.solve(matrix[:, 0]), factor.solve(matrix[:, 0]))
