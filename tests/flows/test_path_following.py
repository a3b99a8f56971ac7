"""Path following: the order of the path, the honesty of its error estimate, reused factors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from flow_cases import formula_map, mlp, normal, relative

import subriem as sr
from subriem.flows import path_lift
from subriem.flows.curves import Segment
from subriem.flows.path_following import PathFollower
from subriem.flows.path_lift import PathLift


def net() -> tuple[sr.OutputMap, np.ndarray]:
    return sr.OutputMap(mlp([2, 7, 2]), normal(4, 2, seed=1)), normal(4, 2, seed=2)


def follow(outputs: sr.OutputMap, end: np.ndarray, **options: object) -> list:
    start = outputs.linearize()
    curve = Segment(start.value, torch.from_numpy(end.reshape(-1)))
    options = {"rtol": 1e-6, **options}
    follower = PathFollower(PathLift(outputs), start, curve, 0.9, **options)  # type: ignore[arg-type]
    return [*follower, follower]


def test_the_error_of_the_parameters_follows_the_tolerance() -> None:
    outputs, y = net()
    loss = sr.SquaredLoss(y)
    exact = sr.flow(outputs, loss, "straight", time=[0.9], rtol=3e-11, max_steps=20000)
    errors, estimates = [], []
    tolerances = [1e-2, 1e-3, 1e-5, 1e-6, 1e-8]
    for rtol in tolerances:
        orbit = sr.flow(outputs, loss, "straight", time=[0.9], rtol=rtol, max_steps=20000)
        length = float(orbit.path_length[-1])
        errors.append(float(np.linalg.norm(orbit.parameters[-1] - exact.parameters[-1])))
        estimates.append(float(orbit.parameter_error[-1]))
        # A local tolerance, summed over the steps.
        assert estimates[-1] <= 2 * orbit.attrs["steps"] * rtol * length
        # Not far below the truth, and no wild exaggeration.
        assert errors[-1] < 5 * estimates[-1] + 1e-11
        assert estimates[-1] < 1e4 * errors[-1] + 1e-10
        assert orbit.tracking_error[-1] < 1e-9
    assert (np.diff(errors) < 0).all()
    # Over the decades of the pair of order five the error falls by nearly as many.
    slope = np.log(errors[2] / errors[4]) / np.log(tolerances[2] / tolerances[4])
    assert 0.7 < slope < 1.6


def test_the_points_lie_on_the_curve_and_at_the_times() -> None:
    outputs, y = net()
    *points, follower = follow(outputs, y, times=[0.25, 0.5])
    assert follower.outcome == "end"
    times = [point.time for point in points]
    assert {0.0, 0.25, 0.5, 0.9} <= set(times)
    assert times == sorted(times)
    assert follower.steps == len(points) - 1
    x0 = points[0].at.value
    for point in points:
        known = x0 + point.time * (torch.from_numpy(y.reshape(-1)) - x0)
        distance = float((outputs(point.at.parameters) - known).norm())
        assert abs(distance - point.tracking_error) < 1e-14
        assert distance < 1e-10
    for before, after in pairwise(points):
        moved = float((after.at.parameters - before.at.parameters).norm())
        assert after.path_length - before.path_length > 0.999 * moved
        assert after.parameter_error >= before.parameter_error


def test_a_curve_that_leaves_the_range_is_told() -> None:
    """x = (cos a, sin a): the segment to a point off the circle cannot be followed."""
    outputs = formula_map([0.3], lambda p: torch.cat([p.cos(), p.sin()]), 2)
    start = outputs.linearize()
    along = torch.tensor([-np.sin(0.3), np.cos(0.3)])
    lift = PathLift(outputs, deficient=True)
    follower = PathFollower(lift, start, Segment(start.value, start.value + along), 0.9, rtol=1e-6)
    points = list(follower)
    assert follower.outcome in ("left_range", "collapsed")
    assert points[-1].time < 1e-2
    across = torch.tensor([np.cos(0.3), np.sin(0.3)])
    lift = PathLift(outputs, deficient=True)
    follower = PathFollower(lift, start, Segment(start.value, start.value + across), 0.9, rtol=1e-6)
    assert len(list(follower)) == 1
    assert follower.outcome == "left_range"


def test_a_fold_ends_the_path_where_it_is() -> None:
    """x = a^2/2 from 1 down to -1: the path ends at x = 0, t = 1/3."""
    outputs = formula_map([1.0], lambda p: p**2 / 2, 1)
    *points, follower = follow(outputs, np.array([-1.0]))
    assert follower.outcome in ("collapsed", "left_range")
    assert abs(points[-1].time - 1 / 3) < 1e-6
    assert points[-1].tracking_error < 1e-7
    assert abs(float(points[-1].at.parameters)) < 1e-3


@pytest.mark.parametrize("kind", ["adapted", "gradient"])
def test_reused_factors_give_the_orbit_of_fresh_ones(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = sr.OutputMap(mlp([3, 12, 2]), normal(8, 3, seed=1))
    loss = sr.SquaredLoss(normal(8, 2, seed=2))
    options = {"time": [0.5, 3.0, 12.0], "rtol": 1e-7}
    if kind == "adapted":
        options["max_steps"] = 2000
    direct = sr.flow(outputs, loss, kind, **options)
    monkeypatch.setattr(path_lift, "_REUSE_SIZE", 2)
    reused = sr.flow(outputs, loss, kind, **options)
    if kind == "adapted":
        assert reused.attrs["krylov_iterations"] > 0
        before, after = (sum(o.attrs["factorizations"].values()) for o in (direct, reused))
        assert after < 0.7 * before
        assert direct.attrs["krylov_iterations"] == 0
        assert relative(reused.loss, direct.predicted_loss) < 1e-6
    assert relative(reused.parameters, direct.parameters) < 1e-5
    assert relative(reused.path_length, direct.path_length) < 1e-5


def test_reused_factors_reach_the_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_lift, "_REUSE_SIZE", 2)
    outputs = sr.OutputMap(mlp([3, 20, 2]), normal(10, 3, seed=1))
    orbit = sr.flow(outputs, sr.SquaredLoss(normal(10, 2, seed=2)))
    assert orbit.attrs["status"] == "converged"
    assert relative(orbit.loss, orbit.loss[0].item() * np.exp(-2 * orbit.time / 10)) < 1e-6


def test_a_loose_tolerance_still_holds_the_outputs() -> None:
    outputs, y = net()
    orbit = sr.flow(outputs, sr.SquaredLoss(y), rtol=0.5)
    assert orbit.attrs["status"] == "converged"
    assert relative(orbit.loss, orbit.loss[0].item() * np.exp(-2 * orbit.time / 4)) < 1e-6


def test_a_spent_step_budget_is_told_by_the_error() -> None:
    outputs, y = net()
    loss = sr.SquaredLoss(y)
    exact = sr.flow(outputs, loss, rtol=1e-9, max_steps=20000)
    short = sr.flow(outputs, loss, rtol=1e-9, max_steps=5)
    assert short.attrs["loose_steps"] > 0
    assert short.attrs["steps"] <= 30
    assert relative(short.loss, short.loss[0].item() * np.exp(-2 * short.time / 4)) < 1e-6
    error = float(np.linalg.norm(short.final_parameters - exact.final_parameters))
    assert 1e-10 < error < 5 * float(short.parameter_error[-1])
