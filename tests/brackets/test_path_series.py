import numpy as np
import pytest
from scipy.integrate import solve_ivp

import subriem as sr
from subriem.brackets import bracket_family
from subriem.brackets.adapted_rank import AdaptedRank, equilibrate
from subriem.brackets.path_series import integration_matrix, path_vectors


@pytest.mark.parametrize("nodes", [2, 5, 20, 80])
def test_integrals_are_exact_below_the_number_of_nodes(nodes):
    times, matrix = integration_matrix(nodes)
    for k in range(0, nodes, max(1, nodes // 7)):
        legendre = np.polynomial.legendre.Legendre.basis(k, domain=[0, 1])
        exact = legendre.integ(lbnd=0)(times)
        np.testing.assert_allclose(matrix @ legendre(times), exact, atol=1e-13)


@pytest.mark.parametrize("name", ["cartan", "unicycle", "rolling_sphere", "engel"])
def test_vectors_of_a_length_span_what_the_brackets_span(name):
    structure = getattr(sr.models, name)()
    at = structure.sample(1, np.random.default_rng(7))
    family = bracket_family(structure)
    for length, vectors in enumerate(path_vectors(structure, at, 4, tolerance=1e-11), start=1):
        brackets = family.of_length(length)
        span = vectors[0, 0]
        span = span / np.abs(span).max() if np.abs(span).max() > 1e-9 else 0 * span
        if not brackets:
            assert not span.any()
            continue
        named = family.values(brackets, at, 1e-11)[0, 0]
        rank = np.linalg.matrix_rank(named, tol=1e-9)
        assert np.linalg.matrix_rank(span, tol=1e-7) == rank
        assert np.linalg.matrix_rank(np.hstack([named, span]), tol=1e-7) == rank


def test_first_orders_against_an_integrated_flow():
    """Pull-back by the flow of q' = e f_1 of the Heisenberg group, by an ODE solver."""
    unicycle = sr.models.unicycle()
    at = np.array([0.2, -0.1, 0.4])
    bracket = unicycle.evaluate("b", sr.named_bracket(unicycle, "[drive,turn]"), at)[:, 0]

    def moved(q, e):
        return solve_ivp(
            lambda _, y: unicycle.velocity(y, [1, 0]), (0, e), q, rtol=1e-12, atol=1e-13
        ).y[:, -1]

    e, h = 1e-3, 1e-5
    end = moved(at, e)
    slope = np.column_stack(
        [(moved(at + h * axis, e) - moved(at - h * axis, e)) / (2 * h) for axis in np.eye(3)]
    )
    pulled = np.linalg.solve(slope, unicycle.frame_at(end)[:, 1])
    np.testing.assert_allclose((pulled - unicycle.frame_at(at)[:, 1]) / e, bracket, atol=2e-3)


def test_rank_decides_by_signal_and_noise_and_not_by_size():
    generator = np.random.default_rng(0)
    noise = 1 + 1e-11 * generator.uniform(-1, 1, (6, 1, 3, 3))
    noise[0] = 1
    tiny = np.array([[1.0, 0, 0], [0, 1e-170, 0], [0, 0, 1e9]])
    rank = AdaptedRank(6, 1, 3)
    rank.add(tiny * noise)
    assert rank.rank.tolist() == [3]


def test_dependent_columns_are_found_whatever_their_units():
    generator = np.random.default_rng(1)
    for _ in range(50):
        base = generator.standard_normal((5, 3)) @ generator.standard_normal((3, 8))
        noise = 1 + 1e-11 * generator.uniform(-1, 1, (6, 5, 8))
        noise[0] = 1
        # noise of the entries, not of a rank-three factorization
        scaled = base * noise * 10.0 ** generator.integers(-8, 9, (5, 1))
        scaled = scaled * 10.0 ** generator.integers(-8, 9, (1, 8))
        rank = AdaptedRank(6, 1, 5)
        rank.add(scaled)
        assert rank.rank.tolist() == [3]
        assert rank.accepted[-1][0] > 1e5
        assert rank.rejected[-1][0] < 10


def test_levels_are_kept_apart():
    rank = AdaptedRank(2, 2, 3)
    one = np.zeros((2, 2, 3, 1))
    one[:, :, 0] = 1.0
    rank.add(one)
    two = np.zeros((2, 2, 3, 2))
    two[:, 0, 0, 0] = 5.0  # nothing new at the first point
    two[:, 1, 2, 1] = 1e-5
    rank.add(two)
    assert rank.rank.tolist() == [1, 2]
    assert rank.levels == [1, 2]
    assert [column.tolist() for column in rank.columns] == [[0, 0], [-1, 1]]


def test_equilibration_brings_rows_and_columns_to_one():
    size = np.abs(np.random.default_rng(0).standard_normal((4, 5, 7)))
    wild = size * 10.0 ** np.arange(-10, 15, 5)[:, None]
    rows, columns = equilibrate(wild)
    scaled = wild * rows[:, :, None] * columns[:, None, :]
    assert scaled.max(axis=1) == pytest.approx(1.0)
    assert (scaled.max(axis=2) > 0.1).all()
