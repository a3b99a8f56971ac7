"""Gauss collocation against the Taylor method, and over long times."""

import numpy as np
import pytest

import subriem as sr
from subriem.arithmetic.native_library import compiler
from subriem.errors import InputError
from subriem.geodesics import exponential

ENGINES = ["batch"] + (["compiled"] if compiler() else [])
START, COVECTOR = [0, 0, 0], [0.6, 1.2, 0.8]


@pytest.mark.parametrize("engine", ENGINES)
def test_order_eight(engine):
    structure = sr.models.unicycle()
    times = np.linspace(0, 5.3, 8)  # not on the steps
    exact = exponential(structure, START, COVECTOR, times, rtol=1e-14).state
    errors = []
    for step in (0.5, 0.25, 0.125):
        found = exponential(structure, START, COVECTOR, times, symplectic_step=step, engine=engine)
        assert found.attrs["engine"] == engine
        assert found.attrs["method"] == "Gauss collocation of order 8, symplectic"
        errors.append(float(np.abs(found.state - exact).max()))
    assert errors[0] < 1e-6
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 8, atol=0.6)


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_the_hamiltonian_stays_bounded_over_ten_thousand_units_of_time():
    structure = sr.models.unicycle()
    times = np.linspace(0, 1e4, 4001)
    found = exponential(structure, START, COVECTOR, times, symplectic_step=0.5)
    error = np.abs(found.hamiltonian.values - 0.5)
    # the error of the first hundred units is that of the last
    assert error[:41].max() < 2e-7
    assert error[-41:].max() < 1.5 * error[:41].max()
    assert error.max() < 1.5 * error[:41].max()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("direction", [1, -1])
def test_leaving_the_chart(engine, direction):
    structure = sr.Structure.define(
        "strip", "x y", lambda q: [(1, 0), (0, q.x)], domain={"x": (-2, 0.5)}
    )
    covector = direction * np.array([[1, 0.5], [-1, 0], [0.7, 0], [0.1, 0]])
    times = direction * np.array([0.25, 1.0, 3.0])
    fan = exponential(structure, [0, 0], covector, times, symplectic_step=0.1, engine=engine)
    assert fan.status.values.tolist() == [*["left the chart"] * 3, "ok"]
    expected = [2 * np.arcsin(0.25), 2, 5 / 7, np.nan]
    np.testing.assert_allclose(fan.event_time, expected, rtol=1e-11)
    reached = np.isfinite(fan.state.values).all(axis=2)
    np.testing.assert_array_equal(reached, [[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 1]])
    np.testing.assert_allclose(fan.state[3, :, 0], [0.025, 0.1, 0.3], rtol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_blow_up_and_steps_that_are_too_long(engine):
    structure = sr.Structure.define("blow-up", "x y", lambda q: [(1 + q.x**2, 0), (0, 1)])
    found = exponential(structure, [0, 0], [1, 0], [1.0, 1.6], symplectic_step=0.01, engine=engine)
    assert found.status.item() in ("blew up", "step too long")
    assert abs(float(found.event_time) - np.pi / 2) < 0.05
    stiff = sr.models.unicycle()
    coarse = exponential(stiff, START, [0, 40, 40], 10.0, symplectic_step=5.0, engine=engine)
    assert coarse.status == "step too long"


def test_a_step_that_cannot_be():
    for step in (0.0, -1.0, np.inf):
        with pytest.raises(InputError, match="symplectic_step: expected a length > 0"):
            exponential(sr.models.unicycle(), START, COVECTOR, 1.0, symplectic_step=step)
