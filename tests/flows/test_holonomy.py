"""Holonomy: against closed forms, brackets by SymPy and by differences, and first integrals."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from flow_cases import Dense, formula_map, mlp, normal
from torch import nn

import subriem as sr
from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.flows.holonomy import curvature, holonomy


def net() -> sr.OutputMap:
    return sr.OutputMap(mlp([2, 7, 2]), normal(3, 2, seed=1))


def start_of(outputs: sr.OutputMap) -> np.ndarray:
    return Dense(outputs).x(outputs.parameters.numpy())


def screw(radius: float = 1.3) -> sr.OutputMap:
    """x = (r, z - phi) on R^3: the fibres are helices, orbits of a screw motion."""
    return formula_map(
        [radius, 0.0, 0.0],
        lambda p: torch.stack([torch.hypot(p[0], p[1]), p[2] - torch.atan2(p[1], p[0])]),
        2,
    )


def turned(radius: float, angle: float) -> np.ndarray:
    """The displacement of (r, 0, 0) along its helix by an angle."""
    return np.array([radius * (math.cos(angle) - 1), radius * math.sin(angle), angle])


def brackets_by_differences(outputs: sr.OutputMap, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(dV) U - (dU) V by central differences of the lifts, with NumPy's pseudo-inverse."""
    dense, theta = Dense(outputs), outputs.parameters.numpy()

    def lift(point: np.ndarray, w: np.ndarray) -> np.ndarray:
        return np.linalg.pinv(dense.jacobian(point)) @ w

    def along(direction: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Derivative of the lift of w, by differences extrapolated to fourth order."""
        coarse, fine = (
            (lift(theta + h * direction, w) - lift(theta - h * direction, w)) / (2 * h)
            for h in (2e-3, 1e-3)
        )
        return (4 * fine - coarse) / 3

    return along(lift(theta, u), v) - along(lift(theta, v), u)


def found_curvature(outputs: sr.OutputMap, u: Any, v: Any) -> np.ndarray:
    pair = (torch.as_tensor(np.asarray(w, dtype=float)) for w in (u, v))
    return curvature(outputs.linearize(), *pair).numpy()


# ------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("height", [0.2, 1.0, -0.7])
def test_a_rectangle_on_the_screw_in_closed_form(height: float) -> None:
    """The lift of (0, 1) turns by -1/(1 + r^2): a loop of any size, by hand."""
    outputs, inner, outer = screw(), 1.3, 1.9
    loop = [[inner, 0], [outer, 0], [outer, height], [inner, height], [inner, 0]]
    found = holonomy(outputs, loop)
    angle = height / (1 + inner**2) - height / (1 + outer**2)
    assert found.attrs["status"] == "converged"
    assert np.abs(found.displacement - turned(inner, angle)).max() < 1e-8
    assert abs(found.area - abs(height) * (outer - inner)) < 1e-12
    assert found.closing_error < 1e-9
    # The prediction is the area times the rate 2 r / (1 + r^2)^2.
    rate = height * (outer - inner) * 2 * inner / (1 + inner**2) ** 2
    assert np.abs(found.predicted_displacement - rate * np.array([0, inner, 1])).max() < 1e-12


def test_a_circle_on_the_screw() -> None:
    """A smooth loop, given as a function: the angle is a plain integral."""
    outputs, radius = screw(), 1.3

    def loop(t: float) -> np.ndarray:
        s = 2 * math.pi * t
        return np.array([radius + 0.3 * (1 - math.cos(s)), 0.3 * math.sin(s)])

    def velocity(t: float) -> np.ndarray:
        s = 2 * math.pi * t
        return 0.6 * math.pi * np.array([math.sin(s), math.cos(s)])

    # The trapezoidal rule, on a periodic function.
    times = np.arange(400) / 400
    angle = -np.mean([velocity(t)[1] / (1 + loop(t)[0] ** 2) for t in times])
    rate = -math.pi * 0.09 * 2 * radius / (1 + radius**2) ** 2
    for options in ({}, {"velocity": velocity}):
        found = holonomy(outputs, loop, **options)
        assert np.abs(found.displacement - turned(radius, angle)).max() < 1e-8
        # Clockwise: from x_0 up, then right.
        assert np.abs(found.predicted_displacement - rate * np.array([0, radius, 1])).max() < 1e-9
        assert abs(found.area - math.pi * 0.09) < 1e-10
    assert abs(angle / rate - 1) < 0.5


def test_linear_models_have_none() -> None:
    outputs = sr.OutputMap(nn.Linear(3, 2).double(), normal(3, 3, seed=1))
    found = holonomy(outputs, (normal(6, seed=2), normal(6, seed=3)), size=2.0)
    assert found.displacement_norm < 1e-9
    assert found.predicted_norm == 0.0
    assert np.isnan(found.relative_difference)
    assert found.area > 1.0
    assert found.path_length > 1.0


def test_one_hidden_unit_has_none() -> None:
    """x = (u v_1, u v_2): u^2 - |v|^2 is kept by every lift, so that range D' is integrable.

    SymPy: d(u^2 - |v|^2) vanishes on range D', and the bracket of the lifts is zero.
    """
    u, v1, v2 = symbols = sympy.symbols("u v1 v2", positive=True)
    jacobian = sympy.Matrix([u * v1, u * v2]).jacobian(symbols)
    lifts = jacobian.T * (jacobian * jacobian.T).inv()
    first, second = lifts[:, 0], lifts[:, 1]
    bracket = second.jacobian(symbols) * first - first.jacobian(symbols) * second
    assert sympy.simplify(bracket) == sympy.zeros(3, 1)
    kept = sympy.Matrix([u**2 - v1**2 - v2**2])
    assert sympy.simplify(kept.jacobian(symbols) * jacobian.T) == sympy.zeros(1, 2)

    outputs = formula_map([0.8, 0.5, -0.3], lambda p: p[0] * p[1:], 2)
    found = holonomy(outputs, ([1.0, 0.0], [0.0, 1.0]), size=0.5)
    assert found.displacement_norm < 1e-9
    assert found.predicted_norm < 1e-13
    assert found.path_length > 1.0


def test_one_output_has_no_area() -> None:
    """x = u v: loops on a line enclose nothing."""
    outputs = formula_map([0.8, 0.5], lambda p: p[:1] * p[1:], 1)
    found = holonomy(outputs, [[0.4], [1.0], [0.1], [0.4]])
    assert found.area == 0.0
    assert found.predicted_norm == 0.0
    assert found.displacement_norm < 1e-9


def test_two_hidden_units_by_sympy_and_by_what_is_kept() -> None:
    """x = W2 W1 with two hidden units: the holonomy is g in GL(2) with the balance kept."""
    start = [0.9, -0.4, 0.3, 0.7, 0.8, 0.2, -0.5, 1.1]

    def formula(p: torch.Tensor) -> torch.Tensor:
        return (p[4:].view(2, 2) @ p[:4].view(2, 2)).reshape(-1)

    outputs = formula_map(start, formula, 4)
    symbols = sympy.symbols("a:8")
    product = sympy.Matrix(2, 2, symbols[4:]) * sympy.Matrix(2, 2, symbols[:4])
    jacobian = product.reshape(4, 1).jacobian(symbols)
    at = dict(zip(symbols, map(sympy.Rational, map(str, start)), strict=True))
    exact = jacobian.subs(at)
    inverse = (exact * exact.T).inv()
    u, v = sympy.Matrix([1, 2, 0, -1]), sympy.Matrix([0, 1, 1, 3])
    beta = {"u": inverse * u, "v": inverse * v}
    lift = {name: exact.T * value for name, value in beta.items()}

    def slope(along: str, of: str) -> sympy.Matrix:
        """Derivative of D'(DD')^-1 w, by the product rule with exact rationals."""
        change = sympy.zeros(4, 8)
        for number, symbol in enumerate(symbols):
            change += lift[along][number] * jacobian.diff(symbol).subs(at)
        gram = change * exact.T + exact * change.T
        return change.T * beta[of] - exact.T * (inverse * (gram * beta[of]))

    wanted = np.array((slope("u", "v") - slope("v", "u")).evalf(20), dtype=float).ravel()
    numbers = (np.array(w, dtype=float).ravel() for w in (u, v))
    first, second = numbers
    assert np.linalg.norm(wanted) > 0.1
    assert np.abs(found_curvature(outputs, first, second) - wanted).max() < 1e-12

    found = holonomy(outputs, (first, second), size=0.1)
    end = np.array(start) + found.displacement.values
    (w1, w2), (z1, z2) = np.array(start).reshape(2, 2, 2), end.reshape(2, 2, 2)
    assert np.abs(z2 @ z1 - w2 @ w1).max() < 1e-9
    assert np.abs(z2.T @ z2 - z1 @ z1.T - w2.T @ w2 + w1 @ w1.T).max() < 1e-9
    g = z1 @ np.linalg.inv(w1)
    assert np.linalg.norm(g - np.eye(2)) > 1e-3
    assert np.abs(z2 @ g - w2).max() < 1e-9


# ------------------------------------------------------------------ networks


@pytest.mark.parametrize("act", ["tanh", "gelu", "relu", "linear"])
def test_the_curvature_is_the_bracket_of_the_lifts(act: str) -> None:
    outputs = sr.OutputMap(mlp([2, 7, 2], act), normal(2, 2, seed=1))
    u, v = normal(4, seed=2), normal(4, seed=3)
    found, wanted = found_curvature(outputs, u, v), brackets_by_differences(outputs, u, v)
    assert np.linalg.norm(wanted) > 0.1
    assert np.linalg.norm(found - wanted) < 1e-6 * np.linalg.norm(wanted)
    # Vertical, bilinear, alternating.
    jacobian = Dense(outputs).jacobian(outputs.parameters.numpy())
    assert np.abs(jacobian @ found).max() < 1e-12
    assert np.abs(found_curvature(outputs, v, u) + found).max() < 1e-12
    assert np.abs(found_curvature(outputs, 2 * u + v, v) - 2 * found).max() < 1e-11
    assert np.abs(found_curvature(outputs, u, u)).max() < 1e-13


def test_the_curvature_where_inputs_repeat() -> None:
    """Constant rank below NQ: that of the map on the distinct inputs."""
    inputs = normal(2, 2, seed=1)
    alone = sr.OutputMap(mlp([2, 7, 1]), inputs)
    twice = sr.OutputMap(alone.module, inputs[[0, 1, 0]])
    wanted = found_curvature(alone, [1, 0], [0, 1])
    assert np.linalg.norm(wanted) > 1e-2
    assert np.abs(found_curvature(twice, [1, 0, 1], [0, 1, 0]) - wanted).max() < 1e-11
    x = start_of(twice)
    loop = x + 0.01 * np.array([[0, 0, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0]])
    found = holonomy(twice, loop)
    assert found.attrs["regime"] == "rank-deficient"
    assert np.abs(found.predicted_displacement - 0.5e-4 * wanted).max() < 1e-12
    assert found.relative_difference < 0.05


def test_the_difference_is_of_third_order() -> None:
    outputs = net()
    pair = normal(6, seed=2), normal(6, seed=3)
    sizes = [0.08, 0.04, 0.02, 0.01]
    found = [holonomy(outputs, pair, size=h) for h in sizes]
    differences = [float(np.linalg.norm(f.displacement - f.predicted_displacement)) for f in found]
    orders = [math.log2(a / b) for a, b in pairwise(differences)]
    assert abs(orders[-1] - 3) < 0.1, orders
    norms = [float(f.displacement_norm) for f in found]
    assert abs(math.log2(norms[-2] / norms[-1]) - 2) < 0.1
    assert [f.attrs["status"] for f in found] == ["converged"] * 4
    for h, f in zip(sizes, found, strict=True):
        gram = [[np.dot(a, b) for b in pair] for a in pair]
        assert abs(f.area - h**2 * math.sqrt(np.linalg.det(gram))) < 1e-12
        assert f.closing_error < 1e-9
        assert f.parameter_error < 1e-3 * f.displacement_norm
        assert f.relative_difference < 3 * h
    # D displacement is of fourth order: minus half the second derivative along it.
    vertical = [float(f.vertical_error) for f in found]
    assert abs(math.log2(vertical[-2] / vertical[-1]) - 4) < 0.2
    # The other way around both directions: the sign of the area is kept, of the third order not.
    back = holonomy(outputs, pair, size=-0.01)
    even = (back.displacement + found[-1].displacement) / 2
    assert float(np.linalg.norm(even - back.predicted_displacement)) < 0.05 * differences[-1]


def test_backwards_around_the_loop_undoes_it() -> None:
    outputs = net()
    x = start_of(outputs)
    loop = x + 0.3 * np.vstack([np.zeros(6), normal(3, 6, seed=5), np.zeros(6)])
    there = holonomy(outputs, loop)
    assert there.displacement_norm > 1e-2
    end = outputs.parameters.numpy() + there.displacement.values
    back = holonomy(outputs, loop[::-1], start=end)
    assert np.abs(back.displacement + there.displacement).max() < 1e-8


def test_a_path_out_and_back_encloses_nothing() -> None:
    outputs = net()
    x = start_of(outputs)
    points = x + 0.3 * np.vstack([np.zeros(6), normal(3, 6, seed=5)])
    found = holonomy(outputs, np.concatenate([points, points[-2::-1]]))
    assert found.displacement_norm < 1e-8
    assert found.predicted_norm < 1e-14
    assert found.area < 1e-14


def test_polygons_of_many_corners_in_many_dimensions() -> None:
    """The bivector, against a sum over the edges and against the coordinate planes."""
    outputs = net()
    x, h = start_of(outputs), 1e-3
    corners = h * np.vstack([np.zeros(6), normal(5, 6, seed=7), np.zeros(6)])
    found = holonomy(outputs, (x + corners).reshape(7, 3, 2))
    by_edges = (
        sum(
            (found_curvature(outputs, a, b) for a, b in pairwise(corners)),
            np.zeros(outputs.dimension),
        )
        / 2
    )
    form = (
        sum((np.outer(a, b) - np.outer(b, a) for a, b in pairwise(corners)), np.zeros((6, 6))) / 2
    )
    by_planes = sum(
        form[a, b] * found_curvature(outputs, np.eye(6)[a], np.eye(6)[b])
        for a in range(6)
        for b in range(a + 1, 6)
    )
    size = float(found.predicted_norm)
    assert np.linalg.norm(by_planes - by_edges) < 1e-12 * size
    assert np.linalg.norm(found.predicted_displacement - by_edges) < 1e-9 * size
    assert abs(found.area / (np.linalg.norm(form) / math.sqrt(2)) - 1) < 1e-9
    assert found.relative_difference < 0.05


def test_equivariance_under_permutation_of_hidden_units() -> None:
    outputs = net()
    order = np.random.default_rng(3).permutation(7)

    def permute(theta: np.ndarray) -> np.ndarray:
        parts = {k: v.numpy() for k, v in outputs.unflatten(torch.from_numpy(theta)).items()}
        parts["0.weight"], parts["0.bias"] = parts["0.weight"][order], parts["0.bias"][order]
        parts["2.weight"] = parts["2.weight"][:, order]
        return outputs.flatten(parts).numpy()

    theta = outputs.parameters.numpy().copy()
    pair = normal(6, seed=2), normal(6, seed=3)
    one = holonomy(outputs, pair, size=0.1)
    other = holonomy(outputs, pair, size=0.1, start=permute(theta))
    for name in ("displacement", "predicted_displacement"):
        assert np.abs(other[name] - permute(one[name].values.copy())).max() < 1e-9


def test_a_large_network() -> None:
    outputs = sr.OutputMap(mlp([4, 40, 40, 3]), normal(8, 4, seed=1))
    assert outputs.dimension > 1900
    pair = normal(24, seed=2), normal(24, seed=3)
    coarse, fine = (holonomy(outputs, pair, size=h, rtol=1e-9) for h in (0.02, 0.01))
    assert fine.relative_difference < 0.1
    assert abs(math.log2(coarse.relative_difference / fine.relative_difference) - 1) < 0.15


def test_a_loop_without_a_lift_has_no_displacement() -> None:
    """Two equal inputs, and a loop that tells their outputs apart on its second edge."""
    outputs = sr.OutputMap(mlp([2, 7, 1]), normal(2, 2, seed=1)[[0, 1, 0]])
    x = start_of(outputs)
    loop = x + 0.3 * np.array([[0, 0, 0], [1, 0, 1], [1, 0, 0], [0, 0, 0]])
    found = holonomy(outputs, loop)
    assert found.attrs["status"] == "left_range"
    for name in ("displacement_norm", "relative_difference", "vertical_error", "closing_error"):
        assert np.isnan(found[name])
    assert np.isnan(found.displacement).all()
    assert abs(found.area - 0.045) < 1e-12
    with pytest.raises(NumericalError, match="left_range"):
        holonomy(outputs, loop, strict=True)


def test_a_loop_that_does_not_move() -> None:
    outputs = net()
    x = start_of(outputs)
    found = holonomy(outputs, [x, x])
    assert found.displacement_norm == 0.0
    assert found.area == 0.0
    assert holonomy(outputs, (np.ones(6), np.ones(6)), size=0.1).predicted_norm < 1e-14


def test_a_damped_factor_is_mended() -> None:
    outputs = net()
    u, v = normal(6, seed=2), normal(6, seed=3)
    wanted = found_curvature(outputs, u, v)
    at = outputs.linearize()
    at.factor = at.damped(1e-4)
    found = curvature(at, torch.from_numpy(u), torch.from_numpy(v)).numpy()
    assert np.abs(found - wanted).max() < 1e-10


def test_the_dataset_goes_to_disk_and_back(tmp_path: Any) -> None:
    found = holonomy(net(), (normal(6, seed=2), normal(6, seed=3)), size=0.01)
    sr.save(found, tmp_path / "loop.nc")
    back = sr.open_results(tmp_path / "loop.nc")
    assert back.identical(found.assign_attrs(back.attrs))
    assert back.attrs["status"] == "converged"


# ------------------------------------------------------------------ bad input


def test_bad_input() -> None:
    outputs = net()
    x, e = start_of(outputs), np.eye(6)
    with pytest.raises(InputError, match=r"ends at a distance of 1 from where it starts"):
        holonomy(outputs, [x, x + e[0], x + e[1]])
    with pytest.raises(InputError, match="expected it to close"):
        holonomy(outputs, lambda t: x + t)
    with pytest.raises(InputError, match="starts at a distance"):
        holonomy(outputs, (e[0], e[1]))
    with pytest.raises(InputError, match="u: expected an output direction"):
        holonomy(outputs, (e[0, :3], e[1]), size=0.1)
    with pytest.raises(InputError, match="v: NaN"):
        holonomy(outputs, (e[0], e[1] * np.nan), size=0.1)
    with pytest.raises(InputError, match="pair"):
        holonomy(outputs, (e[0], e[1], e[2]), size=0.1)
    with pytest.raises(InputError, match="pair"):
        holonomy(outputs, lambda t: x, size=0.1)
    with pytest.raises(InputError, match="finite"):
        holonomy(outputs, (e[0], e[1]), size=math.inf)
    with pytest.raises(InputTypeError, match="size"):
        holonomy(outputs, (e[0], e[1]), size="small")  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="OutputMap"):
        holonomy(outputs.module, (e[0], e[1]), size=0.1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="velocity goes with"):
        holonomy(outputs, (e[0], e[1]), size=0.1, velocity=lambda t: x)
    small = sr.OutputMap(outputs.module, outputs.inputs, memory=500)
    with pytest.raises(NumericalError, match="memory"):
        holonomy(small, (e[0], e[1]), size=0.1)
