"""The horizontal lift of curves: against the flows, SciPy, formulas by hand and symmetries."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from flow_cases import Dense, formula_map, mlp, normal, raw_ode
from scipy.integrate import solve_ivp

import subriem as sr
from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.flows.curves import EuclideanFlow, Segment
from subriem.flows.horizontal_lift import horizontal_lift


def net(seed: int = 0) -> sr.OutputMap:
    return sr.OutputMap(mlp([2, 7, 2], seed=seed), normal(4, 2, seed=1))


def start_of(outputs: sr.OutputMap) -> np.ndarray:
    return Dense(outputs).x(outputs.parameters.numpy())


def bent(outputs: sr.OutputMap) -> tuple:
    """A smooth curve from x(theta_0) that is no straight line, and its velocity."""
    x, u, v = start_of(outputs), normal(outputs.size, seed=5), normal(outputs.size, seed=6)

    def curve(t: float) -> np.ndarray:
        return x + 0.4 * (math.sin(2 * t) * u + (math.cosh(t) - 1) * v)

    def velocity(t: float) -> np.ndarray:
        return 0.4 * (2 * math.cos(2 * t) * u + math.sinh(t) * v)

    return curve, velocity


def lifted_by_scipy(outputs: sr.OutputMap, velocity, times) -> np.ndarray:
    """theta' = D+ c' by DOP853 with dense least squares: no tracking, no code shared."""
    dense = Dense(outputs)

    def field(t: float, theta: np.ndarray) -> np.ndarray:
        return np.linalg.lstsq(dense.jacobian(theta), velocity(t), rcond=None)[0]

    found = solve_ivp(
        field, (0.0, times[-1]), outputs.parameters.numpy(), "DOP853",
        t_eval=times, rtol=1e-12, atol=1e-13,
    )  # fmt: skip
    assert found.success
    return found.y.T


# ------------------------------------------------------------------ against other ways


def test_a_straight_segment_is_the_straight_flow() -> None:
    outputs, y = net(), normal(4, 2, seed=2)
    times = [0.2, 0.5, 0.9]
    flow = sr.flow(outputs, sr.SquaredLoss(y), "straight", time=times, rtol=1e-9, max_steps=5000)
    path = horizontal_lift(
        outputs, [start_of(outputs), y.reshape(-1)], times=times, rtol=1e-9, max_steps=5000
    )
    assert path.attrs["status"] == "converged"
    assert path.attrs["regime"] == flow.attrs["regime"] == "full row rank"
    assert path.time.values.tolist() == [*times, 1.0]
    assert np.abs(path.parameters.values[:3] - flow.parameters.values).max() < 1e-7
    assert np.abs(path.path_length.values[:3] / flow.path_length.values - 1).max() < 1e-4
    # The curve itself is a third way to say the same.
    x = torch.from_numpy(start_of(outputs))
    same = horizontal_lift(
        outputs, Segment(x, torch.from_numpy(y.reshape(-1))), rtol=1e-9, max_steps=5000
    )
    assert np.abs(same.final_parameters - path.final_parameters).max() < 1e-7


def test_the_curve_of_the_adapted_flow_is_lifted_to_its_orbit() -> None:
    outputs, y = net(), normal(4, 2, seed=2)
    x, targets = torch.from_numpy(start_of(outputs)), torch.from_numpy(y)
    curve = EuclideanFlow(sr.SquaredLoss(y), x, targets.reshape(-1), 3.0)
    path = horizontal_lift(outputs, curve, times=[1.0, 3.0], rtol=1e-9, max_steps=5000)
    theta, length = raw_ode(outputs, lambda z: (z - y.reshape(-1)) / 4, np.array([0.0, 1.0, 3.0]))
    assert np.abs(path.parameters.values - theta[1:]).max() < 1e-7
    assert np.abs(path.path_length.values - length[1:]).max() < 1e-4 * length[-1]


@pytest.mark.parametrize("given", [True, False], ids=["derivative given", "by differences"])
def test_a_bent_curve_is_scipys(given: bool) -> None:
    outputs = net()
    curve, velocity = bent(outputs)
    times = np.array([0.1, 0.45, 1.0])
    path = horizontal_lift(
        outputs, curve, velocity=velocity if given else None, times=times, rtol=1e-9
    )
    assert path.attrs["status"] == "converged"
    assert np.abs(path.parameters.values - lifted_by_scipy(outputs, velocity, times)).max() < 1e-8
    assert (path.attrs["velocity_error"] == 0.0) is given
    assert path.attrs["velocity_error"] < 1e-9
    # What is measured is measured: the outputs of the parameters stored, from torch alone.
    dense = Dense(outputs)
    for t, theta, error in zip(
        times, path.parameters.values, path.tracking_error.values, strict=True
    ):
        x = dense.x(theta)
        assert abs(np.linalg.norm(x - curve(t)) - error) < 1e-13
        assert np.linalg.norm(x - curve(t)) < 1e-9


def test_the_error_follows_the_tolerance() -> None:
    outputs = net()
    curve, velocity = bent(outputs)
    truth = lifted_by_scipy(outputs, velocity, np.array([1.0]))[0]
    errors = []
    for rtol in (1e-3, 1e-5, 1e-7, 1e-9):
        path = horizontal_lift(outputs, curve, velocity=velocity, rtol=rtol)
        errors.append(float(np.linalg.norm(path.final_parameters - truth)))
        assert errors[-1] < 5 * float(path.parameter_error[-1]) + 1e-11
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 1e-7


def test_by_hand() -> None:
    """x = (theta_1^2/2, theta_1 theta_2) with as many outputs as parameters: one way."""
    outputs = formula_map([1.0, 0.5], lambda p: torch.stack([p[0] ** 2 / 2, p[0] * p[1]]), 2)
    path = horizontal_lift(outputs, [[0.5, 0.5], [2.0, 0.5], [2.0, -1.0]], times=[0.5])
    assert np.abs(path.parameters[0] - [2.0, 0.25]).max() < 1e-9
    assert np.abs(path.final_parameters - [2.0, -0.5]).max() < 1e-9


# ------------------------------------------------------------------ geometry


def test_there_and_back() -> None:
    outputs = net()
    x = start_of(outputs)
    points = x + np.vstack([np.zeros(8), 0.3 * normal(3, 8, seed=4)])
    back = np.concatenate([points, points[-2::-1]])
    path = horizontal_lift(outputs, back, times=np.linspace(0, 1, 7), rtol=1e-10)
    assert np.abs(path.parameters - path.parameters[::-1]).max() < 1e-8
    assert float(path.path_length[-1]) > 0.5
    # And from the far end, as a path of its own.
    far = path.parameters[3]
    again = horizontal_lift(outputs, points[::-1], start=far, rtol=1e-10)
    assert np.abs(again.final_parameters - outputs.parameters.numpy()).max() < 1e-8


@pytest.mark.parametrize("clock", [lambda t: t**2, lambda t: math.sin(math.pi * t / 2) ** 2])
def test_the_lift_does_not_know_the_clock(clock) -> None:
    """Clocks that stand still at one end and at both."""
    outputs = net()
    curve, _ = bent(outputs)
    path = horizontal_lift(outputs, curve, times=[clock(0.5), 1.0], rtol=1e-9)
    timed = horizontal_lift(outputs, lambda t: curve(clock(t)), times=[0.5, 1.0], rtol=1e-9)
    assert np.abs(timed.parameters.values - path.parameters.values).max() < 1e-8
    assert np.abs(timed.path_length.values - path.path_length.values).max() < 1e-6


def test_the_length_in_the_output_metric_is_that_of_the_curve() -> None:
    """|D theta'| integrated along the parameters found, against |c'| by quadrature."""
    outputs = net()
    curve, velocity = bent(outputs)
    count = 200
    times = np.linspace(0, 1, count + 1)
    path = horizontal_lift(outputs, curve, velocity=velocity, times=times, rtol=1e-9)
    theta = path.parameters.values
    dense = Dense(outputs)
    moved = [dense.jacobian((a + b) / 2) @ (b - a) for a, b in pairwise(theta)]
    found = sum(np.linalg.norm(v) for v in moved)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    wanted = sum(
        w / 2 * np.linalg.norm(velocity((1 + t) / 2)) for t, w in zip(nodes, weights, strict=True)
    )
    # Chords of a curve: second order in 1/200.
    assert abs(found / wanted - 1) < 1e-4
    # Horizontal: D sees all of the moves (up to third order in them, at their midpoints).
    middle = (theta[:-1] + theta[1:]) / 2
    for where, move in zip(middle[::20], np.diff(theta, axis=0)[::20], strict=True):
        jacobian = dense.jacobian(where)
        seen = np.linalg.lstsq(jacobian, jacobian @ move, rcond=None)[0]
        assert np.linalg.norm(move - seen) < 1e-3 * np.linalg.norm(move)
    # The Euclidean length too.
    chords = np.linalg.norm(np.diff(theta, axis=0), axis=1).sum()
    assert abs(float(path.path_length[-1]) / chords - 1) < 1e-3


def test_equivariance_under_permutation_of_hidden_units() -> None:
    outputs = net()
    order = np.random.default_rng(3).permutation(7)

    def permute(theta: np.ndarray) -> np.ndarray:
        parts = {k: v.numpy() for k, v in outputs.unflatten(torch.from_numpy(theta)).items()}
        parts["0.weight"], parts["0.bias"] = parts["0.weight"][order], parts["0.bias"][order]
        parts["2.weight"] = parts["2.weight"][:, order]
        return outputs.flatten(parts).numpy()

    theta = outputs.parameters.numpy().copy()
    curve, _ = bent(outputs)
    one = horizontal_lift(outputs, curve, rtol=1e-9)
    other = horizontal_lift(outputs, curve, start=permute(theta), rtol=1e-9)
    assert np.abs(permute(theta) - theta).max() > 0.1
    moved = permute(one.final_parameters.values.copy())
    assert np.abs(other.final_parameters - moved).max() < 1e-9


def test_balance_is_kept_along_any_horizontal_path() -> None:
    """W2' W2 - W1 W1' of a linear network is a first integral of all horizontal paths."""
    outputs = sr.OutputMap(mlp([3, 4, 2], "linear", bias=False), np.eye(3))

    def balance(theta: np.ndarray) -> np.ndarray:
        first, second = theta[:12].reshape(4, 3), theta[12:].reshape(2, 4)
        return second.T @ second - first @ first.T

    x = start_of(outputs)
    points = x + np.vstack([np.zeros(6), 0.4 * normal(4, 6, seed=8)])
    path = horizontal_lift(outputs, points, rtol=1e-10)
    theta = path.parameters.values
    kept = balance(outputs.parameters.numpy())
    assert float(path.path_length[-1]) > 1
    assert max(np.abs(balance(point) - kept).max() for point in theta) < 1e-8


# ------------------------------------------------------------------ sizes and regimes


def test_a_large_network() -> None:
    """2250 parameters and 120 outputs, along way points and back to the outputs of the start."""
    outputs = sr.OutputMap(mlp([4, 40, 40, 10]), normal(12, 4, seed=1))
    assert outputs.dimension == 2250
    x = start_of(outputs)
    points = x + np.vstack([np.zeros(120), 0.2 * normal(2, 120, seed=2), np.zeros(120)])
    path = horizontal_lift(outputs, points.reshape(4, 12, 10), rtol=1e-6, keep=["parameters"])
    assert path.attrs["status"] == "converged"
    assert "outputs" not in path
    assert np.abs(Dense(outputs).x(path.final_parameters.values) - x).max() < 1e-8
    assert (path["rank"] == 120).all()
    assert np.linalg.norm(path.final_parameters - outputs.parameters.numpy()) > 1e-3


def test_large_output_spaces_reuse_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    from subriem.flows import path_lift

    outputs = net()
    curve, _ = bent(outputs)
    exact = horizontal_lift(outputs, curve, rtol=1e-9)
    monkeypatch.setattr(path_lift, "_REUSE_SIZE", 1)
    found = horizontal_lift(outputs, curve, rtol=1e-9)
    assert found.attrs["krylov_iterations"] > 0
    assert sum(found.attrs["factorizations"].values()) < found.attrs["lifts"] / 3
    assert np.abs(found.final_parameters - exact.final_parameters).max() < 1e-8


def test_without_any_matrix() -> None:
    module, inputs = mlp([2, 7, 2]), normal(4, 2, seed=1)
    outputs, small = sr.OutputMap(module, inputs), sr.OutputMap(module, inputs, memory=500)
    curve, _ = bent(outputs)
    exact = horizontal_lift(outputs, curve, rtol=1e-9)
    found = horizontal_lift(small, curve, rtol=1e-9)
    assert found.attrs["status"] == "converged"
    assert (found["rank"] == -1).all()
    assert np.abs(found.final_parameters - exact.final_parameters).max() < 1e-8


def test_a_curve_within_the_image_of_an_under_parametrized_map() -> None:
    """Outputs of a known path of parameters: with D one-to-one the lift is that path."""
    outputs = sr.OutputMap(mlp([2, 2, 1]), normal(20, 2, seed=1))
    dense, theta, way = Dense(outputs), outputs.parameters.numpy(), 0.3 * normal(9, seed=3)
    path = horizontal_lift(outputs, lambda t: dense.x(theta + math.sin(t) * way), rtol=1e-9)
    assert path.attrs["regime"] == "under-parametrized"
    assert path.attrs["status"] == "converged"
    assert np.abs(path.final_parameters - (theta + math.sin(1) * way)).max() < 1e-8
    outside = dense.x(theta) + np.vstack([np.zeros(20), normal(20, seed=4)])
    left = horizontal_lift(outputs, outside)
    assert left.attrs["status"] == "left_range"
    assert left.time.values.tolist() == [0.0]
    with pytest.raises(NumericalError, match="left_range"):
        horizontal_lift(outputs, outside, strict=True)


def test_duplicated_inputs() -> None:
    inputs = normal(3, 2, seed=1)[[0, 1, 2, 0]]
    outputs = sr.OutputMap(mlp([2, 7, 1]), inputs)
    x, v = start_of(outputs), np.array([0.4, -0.3, 0.2, 0.4])
    path = horizontal_lift(outputs, [x, x + v], rtol=1e-9)
    assert (path.attrs["regime"], path.attrs["status"]) == ("rank-deficient", "converged")
    assert (path["rank"] == 3).all()
    alone = sr.OutputMap(outputs.module, inputs[:3])
    wanted = horizontal_lift(alone, [x[:3], (x + v)[:3]], rtol=1e-9)
    assert np.abs(path.final_parameters - wanted.final_parameters).max() < 1e-8
    apart = horizontal_lift(outputs, [x, x + v, x + v + [1, 0, 0, 0]], times=[0.25, 0.75])
    assert apart.attrs["status"] == "left_range"
    assert apart.time.values.tolist() == [0.25, 0.5]


def test_rank_lost_on_the_way() -> None:
    """x = (theta_1^2/2, theta_2) from 1/2 to -1: the rank is lost at t = 1/3."""
    outputs = formula_map([1.0, 0.5], lambda p: torch.stack([p[0] ** 2 / 2, p[1]]), 2)
    path = horizontal_lift(outputs, [[0.5, 0.5], [-1.0, 2.0]], rtol=1e-5)
    assert path.attrs["status"] == "rank_lost"
    assert "1 of 2" in path.attrs["message"]
    assert abs(path.time[-1] - 1 / 3) < 1e-6
    theta = np.stack([np.sqrt(np.maximum(1 - 3 * path.time, 0.0)), 0.5 + 1.5 * path.time], 1)
    assert np.abs(path.parameters - theta).max() < 1e-4
    assert float(path.smallest_singular_value[-1]) < 1e-3


def test_a_curve_that_rests() -> None:
    outputs = net()
    x = start_of(outputs)
    for curve in ([x, x, x], lambda t: x, [x, x + 0.1, x + 0.1]):
        path = horizontal_lift(outputs, curve)
        assert path.attrs["status"] == "converged"
        assert path.time[-1] == 1.0
    assert path.path_length[-1] > 0.0
    still = horizontal_lift(outputs, [x, x])
    assert np.array_equal(still.final_parameters, outputs.parameters)


def test_times_out_as_they_went_in() -> None:
    outputs = net()
    x = start_of(outputs)
    points = x + np.vstack([np.zeros(8), 0.1 * normal(3, 8, seed=4)])
    times = [0.0, 0.1 + 0.2, 1 / 3, 2 / 3, 0.7, 1.0]
    path = horizontal_lift(outputs, points, times=times)
    assert path.time.values.tolist() == times
    assert np.abs(path.outputs.values[3].reshape(-1) - points[2]).max() < 1e-9
    everything = horizontal_lift(outputs, points, keep=["singular_values"])
    assert (np.diff(everything.time) > 0).all()
    assert {1 / 3, 2 / 3} <= set(everything.time.values)
    assert everything.singular_values.shape == (everything.sizes["time"], 8)


def test_differences_reach_the_borders() -> None:
    """Functions that exist on [0, 1] only, as an interpolation would."""
    outputs = net()
    x, u = start_of(outputs), normal(8, seed=5)

    def curve(t: float) -> np.ndarray:
        assert 0.0 <= t <= 1.0
        return x + math.sin(t) * u

    path = horizontal_lift(outputs, curve, rtol=1e-9)
    straight = horizontal_lift(outputs, [x, x + math.sin(1) * u], rtol=1e-9)
    assert np.abs(path.final_parameters - straight.final_parameters).max() < 1e-8


def test_a_kink_in_a_function() -> None:
    outputs = net()
    x, u, v = start_of(outputs), normal(8, seed=5), normal(8, seed=6)

    def curve(t: float) -> np.ndarray:
        return x + 0.3 * t * u + 0.3 * max(t - 0.6, 0.0) * v

    path = horizontal_lift(outputs, curve, rtol=1e-7)
    assert path.attrs["velocity_error"] < 1e-9
    pieces = horizontal_lift(outputs, [x, curve(0.6), curve(1.0)], rtol=1e-9)
    assert np.abs(path.final_parameters - pieces.final_parameters).max() < 1e-7


def test_velocities_from_rough_positions() -> None:
    """Positions to seven digits: the outputs are held on them, the loss of digits is told."""
    outputs = net()
    x, (curve, velocity) = start_of(outputs), bent(outputs)
    rough = horizontal_lift(
        outputs, lambda t: x + (curve(t) - x).astype(np.float32), rtol=1e-4, max_steps=30
    )
    assert rough.attrs["status"] == "converged"
    assert 1e-7 < rough.attrs["velocity_error"] < 1e-3
    exact = lifted_by_scipy(outputs, velocity, np.array([1.0]))[0]
    assert np.abs(rough.final_parameters - exact).max() < 1e-4


def test_a_jump_has_no_lift() -> None:
    outputs = net()
    x, u = start_of(outputs), normal(8, seed=5)
    path = horizontal_lift(outputs, lambda t: x + 0.1 * (t + (t > 0.5)) * u, rtol=1e-3)
    assert path.attrs["status"] == "collapsed"
    assert abs(path.time[-1] - 0.5) < 1e-9
    assert np.linalg.norm(Dense(outputs).x(path.final_parameters.values) - x - 0.05 * u) < 1e-9


# ------------------------------------------------------------------ bad input


def test_bad_input() -> None:
    outputs = net()
    x = start_of(outputs)
    with pytest.raises(InputError, match=r"distance of 0\.5 from the outputs"):
        horizontal_lift(outputs, [x + 0.5 * np.eye(8)[2], x])
    with pytest.raises(InputError, match="starts at a distance"):
        horizontal_lift(outputs, lambda t: x + 1 + t)
    with pytest.raises(InputError, match="way points"):
        horizontal_lift(outputs, x)
    with pytest.raises(InputError, match="way points"):
        horizontal_lift(outputs, [x])
    with pytest.raises(InputError, match="way points"):
        horizontal_lift(outputs, np.zeros((3, 7)))
    with pytest.raises(InputError, match="way point 1 has NaN"):
        horizontal_lift(outputs, [x, x * np.nan])
    with pytest.raises(InputError, match=r"curve\(0\): expected 8 numbers"):
        horizontal_lift(outputs, lambda t: x[:3])
    with pytest.raises(InputError, match="NaN or Inf"):
        horizontal_lift(outputs, lambda t: x + math.sqrt(t) / (t < 0.7 or math.nan))
    with pytest.raises(InputError, match="differs from the derivative"):
        horizontal_lift(outputs, lambda t: x + t, velocity=lambda t: -np.ones(8))
    with pytest.raises(InputError, match="velocity goes with"):
        horizontal_lift(outputs, [x, x + 1], velocity=lambda t: np.ones(8))
    with pytest.raises(InputTypeError, match="velocity must be callable"):
        horizontal_lift(outputs, lambda t: x, velocity=3)  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="OutputMap"):
        horizontal_lift(outputs.module, [x, x + 1])  # type: ignore[arg-type]
    for times in ([0.5, 0.2], [-0.1], [1.5], [], 0.5, [math.nan]):
        with pytest.raises(InputError, match="times"):
            horizontal_lift(outputs, [x, x + 1], times=times)  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="times"):
        horizontal_lift(outputs, [x, x + 1], times="soon")  # type: ignore[arg-type]
    for options in ({"rtol": 0.0}, {"max_steps": 0}, {"keep": "outputs"}, {"keep": ["theta"]}):
        with pytest.raises(InputError):
            horizontal_lift(outputs, [x, x + 1], **options)  # type: ignore[arg-type]
    for options in ({"rtol": "small"}, {"max_steps": 1.5}):
        with pytest.raises(InputTypeError):
            horizontal_lift(outputs, [x, x + 1], **options)  # type: ignore[arg-type]
