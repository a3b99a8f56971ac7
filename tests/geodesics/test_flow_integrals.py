"""First integrals: of the distribution (exact, also trigonometric) and of the geodesic flow."""

import math

import casadi as ca
import numpy as np
import pytest

import subriem as sr
from subriem.geodesics.first_integrals import exact_integrals, separating_integral
from subriem.geodesics.hamiltonian import covector_symbols, hamiltonian
from subriem.geodesics.killing import flow_integrals

MODELS = [
    sr.models.heisenberg(),
    sr.models.unicycle(),
    sr.models.engel(),
    sr.models.cartan(),
    sr.models.so3(),
    sr.models.hopf(),
    sr.models.trailers(2, [0.5, 2.0]),
    sr.models.ball_plate(0.5),
    sr.models.rolling_sphere(),
    sr.models.martinet(),
]
PENDANT = sr.Structure.define("pendant", "x t", lambda q: [(2 * ca.cos(q.t), 1)], periodic=("t",))
CUBIC = sr.Structure.define("cubic", "x y", lambda q: [(1, 3 * q.x**2)])


@pytest.mark.parametrize("structure", MODELS, ids=lambda value: value.name)
def test_poisson_brackets_with_the_hamiltonian_vanish(structure):
    """{H, g} by CasADi's derivatives at random covectors."""
    found = flow_integrals(structure)
    q, p = structure.state, covector_symbols(structure)
    z = ca.vertcat(q, p)
    values = found.values(z, structure.parameter_symbols)[0]
    energy = hamiltonian(structure)
    flow = ca.vertcat(ca.gradient(energy, p), -ca.gradient(energy, q))
    rates = ca.Function("rates", [z, structure.parameter_symbols], [ca.jtimes(values, z, flow)])
    generator = np.random.default_rng(2)
    for point in structure.sample(5, generator):
        covector = generator.standard_normal(structure.dimension)
        rate = np.asarray(rates(np.append(point, covector), structure.parameter_values))
        scale = float(structure.hamiltonian_at(point, covector)) + 1
        assert np.abs(rate).max() < 1e-12 * scale * (1 + np.abs(point).max()) ** 4


@pytest.mark.parametrize(
    ("structure", "count"),
    [
        (sr.models.heisenberg(), 4),
        (sr.models.unicycle(), 3),
        (sr.models.engel(), 4),
        (sr.models.so3(), 4),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_dimension_of_the_isometry_group(structure, count):
    """Left translations, and rotations of the distribution for Heisenberg and SO(3)."""
    assert len(flow_integrals(structure).names) == count


def test_exponential_reports_the_drift_of_integrals():
    fan = sr.exponential(
        sr.models.rolling_sphere(), [0, 0, 0, 0, 0], np.eye(5) + 0.3, [0.5, 1.0], rtol=1e-12
    )
    assert fan.integral_drift.dims == ("geodesic", "integral")
    assert fan.integral_drift.shape == (5, 6)
    assert float(fan.integral_drift.max()) < 1e-10
    rough = sr.exponential(
        sr.models.rolling_sphere(), [0, 0, 0, 0, 0], np.eye(5) + 0.3, [0.5, 1.0], rtol=1e-4
    )
    assert float(rough.integral_drift.max()) > float(fan.integral_drift.max())
    circle = sr.exponential(sr.models.heisenberg(), [0, 0, 0], [1, 0, 1], 2.0)
    assert circle.integral_drift.dims == ("integral",)
    assert "p_z" in circle.integral.values


def test_drift_is_what_it_says():
    structure = sr.models.heisenberg()
    found = flow_integrals(structure)
    start = np.array([[0.0, 0, 0, 1, 2, 4]])
    moved = np.array([[[0.0, 0, 0, 1, 2, 5], [np.nan] * 6]])
    drift = found.drift(start, moved, structure.parameter_values)
    # p_z from 4 to 5, of size 5; the others are as they were
    np.testing.assert_allclose(drift[0][list(found.names).index("p_z")], 0.2)
    assert np.count_nonzero(drift) == 1


def test_models_beyond_the_ansatz_keep_their_cyclic_momenta():
    kinked = sr.Structure.define("kinked", "x y", lambda q: [(1, ca.fabs(q.x)), (0, 1)])
    found = flow_integrals(kinked)
    assert (found.names, found.degree) == (("p_y",), 0)


def test_trigonometric_and_cubic_integrals_tell_orbits_apart():
    text, here, there = separating_integral(PENDANT, np.zeros(2), np.array([1.0, 0.5]))
    assert text == "x - 2*sin(t)"
    assert (here, there) == pytest.approx((0, 1 - 2 * math.sin(0.5)))
    assert separating_integral(PENDANT, np.zeros(2), np.array([2 * math.sin(0.5), 0.5])) is None
    text, here, there = separating_integral(CUBIC, np.array([1.0, 1.0]), np.array([2.0, 1.0]))
    assert text == "y - x*x*x"
    assert (here, there) == pytest.approx((0, -7))


def test_distance_and_connect_say_that_the_end_is_off_the_orbit():
    assert np.isinf(sr.distance(CUBIC, [0, 0], [1, 2]))
    path = sr.connect(PENDANT, [0, 0], [1, 0])
    assert path.attrs["status"] == "unreachable"
    assert "not in the orbit" in path.attrs["optimality"]
    assert "x - 2*sin(t)" in path.attrs["note"]
    assert np.isinf(path.lower_bound)


def test_exact_integrals_of_the_spheres():
    found = exact_integrals(sr.models.hopf(), 2)
    assert [integral.text for integral in found] == ["a*a + b*b + c*c + d*d"]
    assert exact_integrals(sr.models.unicycle(), 2) == []
