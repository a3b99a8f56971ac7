"""Values at many points against CasADi's own evaluation, and against NumPy."""

import casadi as ca
import numpy as np
import pytest

from subriem.arithmetic.many_points import values_at


def rotor():
    x, w = ca.SX.sym("x", 3), ca.SX.sym("w", 2)
    matrix = ca.vertcat(
        ca.horzcat(ca.cos(x[2]), w[0] * x[0]), ca.horzcat(ca.sin(x[2]), x[1] / w[1])
    )
    return ca.Function("rotor", [x, w], [matrix, ca.sumsqr(x)])


# around the number of points that are taken at once, and none
@pytest.mark.parametrize("count", [0, 1, 2, 255, 256, 257, 1000])
def test_values_are_those_of_numpy_and_of_casadi(count):
    points = np.random.default_rng(count).normal(size=(count, 3))
    parameters = np.array([2.0, 3.0])
    matrix, square = values_at(rotor(), points, parameters)
    x, y, angle = points.T
    expected = np.stack([np.cos(angle), np.sin(angle), 2 * x, y / 3], axis=1)  # by columns
    np.testing.assert_allclose(matrix, expected, rtol=1e-15)
    np.testing.assert_allclose(square, (points**2).sum(axis=1)[:, None], rtol=1e-15)
    for k in range(0, count, 97):
        one, _ = rotor()(points[k], parameters)
        np.testing.assert_array_equal(matrix[k], np.array(one).ravel(order="F"))


def test_no_parameters_and_an_output_without_numbers():
    x, w = ca.SX.sym("x", 2), ca.SX.sym("w", 0)
    function = ca.Function("f", [x, w], [x[::-1], ca.SX(0, 1)])
    points = np.arange(6.0).reshape(3, 2)
    swapped, nothing = values_at(function, points, np.zeros(0))
    np.testing.assert_array_equal(swapped, points[:, ::-1])
    assert nothing.shape == (3, 0)


def test_columns_of_a_larger_array_and_points_that_repeat():
    points = np.random.default_rng(0).normal(size=(300, 6))
    taken = values_at(rotor(), points[:, ::2], np.ones(2))[0]
    np.testing.assert_array_equal(
        taken, values_at(rotor(), np.ascontiguousarray(points[:, ::2]), np.ones(2))[0]
    )
    same = values_at(rotor(), np.broadcast_to(points[0, :3], (300, 3)), np.ones(2))[1]
    assert np.unique(same).size == 1


def test_nan_stays_with_its_point():
    points = np.zeros((5, 3))
    points[2, 2] = np.nan
    matrix, _ = values_at(rotor(), points, np.ones(2))
    assert np.isnan(matrix[2, :2]).all()
    assert np.isfinite(np.delete(matrix, 2, axis=0)).all()
