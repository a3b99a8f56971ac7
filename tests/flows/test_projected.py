"""The projected flow: rank-deficient and under-parametrized maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from flow_cases import (
    Dense,
    formula_map,
    mlp,
    normal,
    raw_ode,
    relative,
    squared_gradient,
)

import subriem as sr


def stationarity(outputs: sr.OutputMap, theta: np.ndarray, y: np.ndarray) -> float:
    """|P g| over |g|, with P the projector on the range of D by its SVD."""
    dense = Dense(outputs)
    g = squared_gradient(dense.x(theta), y)
    left, sigma, _ = np.linalg.svd(dense.jacobian(theta), full_matrices=False)
    kept = left[:, sigma > 1e-9 * sigma[0]]
    return float(np.linalg.norm(kept.T @ g) / np.linalg.norm(g))


# ---------------------------------------------------------------------- duplicates


def contradictory() -> tuple[np.ndarray, np.ndarray]:
    inputs, y = normal(6, 2, seed=1), normal(6, 2, seed=2)
    inputs[3] = inputs[0]
    return inputs, y


def test_contradictory_duplicates_end_at_the_analytic_limit() -> None:
    """C = |y_1 - y_2|^2 / (4N), the projector being constant."""
    inputs, y = contradictory()
    outputs = sr.OutputMap(mlp([2, 12, 2]), inputs)
    orbit = sr.flow(outputs, sr.SquaredLoss(y))
    limit = float(((y[0] - y[3]) ** 2).sum()) / 24
    assert orbit.attrs["status"] == "equilibrium"
    assert orbit.attrs["regime"] == "rank-deficient"
    assert abs(orbit.loss[-1] / limit - 1) < 1e-12
    within = float(orbit.loss[0]) - limit
    assert relative(orbit.predicted_loss, limit + within * np.exp(-2 * orbit.time / 6)) < 1e-12
    excess = orbit.loss - limit
    known = within * np.exp(-2 * orbit.time / 6)
    assert (abs(excess - known) < 1e-6 * known + 1e-15).all()
    assert (orbit["rank"] == 10).all()
    assert stationarity(outputs, orbit.final_parameters.values, y) < 1e-6
    (event,) = orbit.attrs["events"]
    assert event["time"] == 0.0
    assert event["rank"] == 10
    assert event["lost_directions"] == 2
    assert event["heaviest_sample"] in (0, 3)
    # The directions lost are the differences of the two samples.
    lost = orbit.lost_directions.values
    assert np.abs(lost[:, 0] + lost[:, 3]).max() < 1e-10
    assert np.abs(lost[:, [1, 2, 4, 5]]).max() < 1e-10
    assert np.abs(np.einsum("dsq,esq->de", lost, lost) - np.eye(2)).max() < 1e-12


def test_a_triple_and_a_pair_of_duplicates() -> None:
    """The limit is the scatter of the labels within each group, over 2N."""
    inputs, y = normal(7, 2, seed=1), normal(7, 1, seed=2)
    inputs[[2, 4]] = inputs[0]
    inputs[6] = inputs[1]
    orbit = sr.flow(sr.OutputMap(mlp([2, 12, 1]), inputs), sr.SquaredLoss(y))
    scatter = sum(((y[g] - y[g].mean()) ** 2).sum() for g in ([0, 2, 4], [1, 6]))
    assert abs(orbit.loss[-1] / (scatter / 14) - 1) < 1e-12
    assert orbit.attrs["status"] == "equilibrium"
    assert (orbit["rank"] == 4).all()


def test_duplicates_with_the_same_label_reach_zero_loss() -> None:
    inputs, y = contradictory()
    y[3] = y[0]
    orbit = sr.flow(sr.OutputMap(mlp([2, 12, 2]), inputs), sr.SquaredLoss(y))
    assert orbit.attrs["status"] == "converged"
    assert relative(orbit.loss, orbit.loss[0].item() * np.exp(-2 * orbit.time / 6)) < 1e-6


def test_a_tolerance_above_the_limit_is_reached_with_deficient_rank() -> None:
    inputs, y = contradictory()
    limit = float(((y[0] - y[3]) ** 2).sum()) / 24
    orbit = sr.flow(sr.OutputMap(mlp([2, 12, 2]), inputs), sr.SquaredLoss(y), tolerance=1.5 * limit)
    assert orbit.attrs["status"] == "converged"
    assert abs(orbit.loss[-1] / (1.5 * limit) - 1) < 1e-6
    within = float(orbit.loss[0]) - limit
    assert abs(orbit.time[-1] - 3 * math.log(within / (0.5 * limit))) < 1e-6


def test_the_straight_flow_of_contradictory_duplicates() -> None:
    inputs, y = contradictory()
    outputs = sr.OutputMap(mlp([2, 12, 2]), inputs)
    t = np.array([0.3, 0.9])
    straight = sr.flow(outputs, sr.SquaredLoss(y), "straight", time=t)
    adapted = sr.flow(outputs, sr.SquaredLoss(y), time=-6 * np.log1p(-t))
    assert relative(straight.outputs, adapted.outputs) < 1e-9
    assert relative(straight.parameters, adapted.parameters) < 1e-5


# ---------------------------------------------------------------------- starts at an equilibrium


def linear_case() -> tuple[sr.OutputMap, np.ndarray, np.ndarray]:
    outputs = sr.OutputMap(mlp([2, 1], "linear"), normal(6, 2, seed=1))
    y = normal(6, 1, seed=2)
    design = np.c_[outputs.inputs.numpy(), np.ones(6)]
    return outputs, y, np.linalg.lstsq(design, y, rcond=None)[0].reshape(-1)


def test_a_linear_fit_ends_at_the_least_squares_optimum() -> None:
    outputs, y, best = linear_case()
    orbit = sr.flow(outputs, sr.SquaredLoss(y))
    assert orbit.attrs["status"] == "equilibrium"
    assert orbit.attrs["regime"] == "under-parametrized"
    assert np.linalg.norm(orbit.final_parameters - best) < 1e-7 * np.linalg.norm(best)
    residual = Dense(outputs).x(best) - y.reshape(-1)
    assert abs(orbit.loss[-1] / (residual @ residual / 12) - 1) < 1e-12


def test_a_start_at_the_equilibrium_is_one() -> None:
    outputs, y, best = linear_case()
    orbit = sr.flow(outputs, sr.SquaredLoss(y), start=best)
    assert orbit.attrs["status"] == "equilibrium"
    assert np.abs(orbit.final_parameters - best).max() < 1e-12


def test_an_orbit_resumed_at_its_equilibrium_stays() -> None:
    outputs, y, _ = linear_case()
    end = sr.flow(outputs, sr.SquaredLoss(y))
    again = sr.flow(outputs, sr.SquaredLoss(y), start=end.final_parameters)
    assert again.attrs["status"] == "equilibrium"


def test_a_critical_point_with_d_zero() -> None:
    """x = theta^2/2 at theta = 0: nothing can move, and C > 0."""
    outputs = formula_map([0.0], lambda p: p**2 / 2, 1)
    orbit = sr.flow(outputs, sr.SquaredLoss([1.0]))
    assert orbit.attrs["status"] == "equilibrium"
    assert orbit.attrs["regime"] == "rank-deficient"
    assert orbit.loss.values.tolist() == [0.5] * len(orbit.time)
    assert orbit["rank"].values.tolist() == [0] * len(orbit.time)


# ---------------------------------------------------------------------- a turning projector


def fit_case(seed: int) -> tuple[sr.OutputMap, np.ndarray]:
    """More samples than parameters; the labels are near enough for the rank to be kept."""
    outputs = sr.OutputMap(mlp([2, 2, 1], seed=seed), normal(25, 2, seed=seed + 1))
    x = outputs(outputs.parameters + 0.03 * torch.from_numpy(normal(9, seed=seed + 2)))
    return outputs, x.numpy().reshape(25, 1) + 0.005 * normal(25, 1, seed=seed + 3)


@pytest.mark.parametrize("seed", [0, 10])
def test_an_under_parametrized_fit_ends_at_the_least_squares_optimum(seed: int) -> None:
    outputs, y = fit_case(seed)
    orbit = sr.flow(outputs, sr.SquaredLoss(y))
    assert orbit.attrs["regime"] == "under-parametrized"
    assert orbit.attrs["status"] == "equilibrium"
    end = orbit.final_parameters.values
    assert stationarity(outputs, end, y) < 1e-6
    dense = Dense(outputs)
    best = scipy.optimize.least_squares(
        lambda theta: dense.x(theta) - y.reshape(-1), end, dense.jacobian,
        xtol=1e-15, ftol=1e-15, gtol=1e-15,
    )  # fmt: skip
    assert abs(orbit.loss[-1] / (2 * best.cost / 50) - 1) < 1e-9
    assert np.linalg.norm(best.x - end) < 1e-4 * np.linalg.norm(end)
    assert (np.diff(orbit.loss) <= 1e-14).all()


def test_an_under_parametrized_orbit_is_scipys() -> None:
    outputs, y = fit_case(0)
    times = np.array([2.0, 10.0, 40.0])
    theta, length = raw_ode(outputs, lambda x: squared_gradient(x, y), times, rtol=1e-10)
    orbit = sr.flow(outputs, sr.SquaredLoss(y), time=times, rtol=1e-9)
    assert orbit.time.values.tolist() == times.tolist()
    assert relative(orbit.parameters, theta) < 1e-6
    assert relative(orbit.path_length, length) < 1e-6
    # dC/ds = -|P(x - y)|^2 / N^2 by central differences.
    fine = sr.flow(outputs, sr.SquaredLoss(y), time=[9.9, 10.0, 10.1], rtol=1e-9)
    slope = float(fine.loss[2] - fine.loss[0]) / 0.2
    dense = Dense(outputs)
    x = dense.x(fine.parameters.values[1]) - y.reshape(-1)
    left = np.linalg.svd(dense.jacobian(fine.parameters.values[1]), full_matrices=False)[0]
    assert abs(slope / (-((left.T @ x) ** 2).sum() / 25**2) - 1) < 1e-4


def test_a_projector_that_turns_around_a_velocity_it_keeps() -> None:
    """x = (a, b cos a, b sin a): at b = 0 the segment stays in range D, the flow leaves it.

    Range D = span(e_1, (0, cos a, sin a)) holds e_1 throughout, and turns about it; as a moves,
    e_3 comes into range D, so that the end of the segment is no equilibrium.
    """
    outputs = formula_map(
        [0.0, 0.0], lambda p: torch.stack([p[0], p[1] * p[0].cos(), p[1] * p[0].sin()]), 3
    )
    y = np.array([[1.0], [0.0], [1.0]])
    times = np.array([1.0, 3.0, 9.0])
    theta, _ = raw_ode(outputs, lambda x: squared_gradient(x, y), times)
    orbit = sr.flow(outputs, sr.SquaredLoss(y), time=times, rtol=1e-8)
    assert relative(orbit.parameters, theta) < 1e-6
    end = sr.flow(outputs, sr.SquaredLoss(y))
    assert end.attrs["status"] == "equilibrium"
    assert stationarity(outputs, end.final_parameters.values, y) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("samples", [6, 8])
def test_a_zero_output_layer_gains_rank_on_the_way(samples: int) -> None:
    """A common initialisation: at the start D has rank 5 only, at once afterwards full rank."""
    module = mlp([1, 4, 1], seed=2)
    with torch.no_grad():
        module[2].weight.zero_()
        module[2].bias.zero_()
    outputs = sr.OutputMap(module, normal(samples, 1, seed=1))
    y = normal(samples, 1, seed=2)
    orbit = sr.flow(outputs, sr.SquaredLoss(y))
    assert orbit["rank"][0] == 5
    assert orbit.attrs["status"] != "horizon"
    if orbit.attrs["status"] == "equilibrium":
        assert stationarity(outputs, orbit.final_parameters.values, y) < 1e-6


def ill_conditioned(seed: int) -> tuple[sr.OutputMap, np.ndarray]:
    """One input in thirty samples: singular values down to 1e-5 of the largest, and less."""
    outputs = sr.OutputMap(mlp([1, 3, 1], seed=seed), normal(30, 1, seed=seed))
    return outputs, normal(30, 1, seed=seed + 9)


def test_a_projector_that_turns_at_once_is_followed() -> None:
    outputs, y = ill_conditioned(0)
    times = np.array([1e-4, 5e-4])
    theta, _ = raw_ode(
        outputs, lambda x: squared_gradient(x, y), times, rtol=1e-10, rcond=1e-13
    )  # fmt: skip
    orbit = sr.flow(outputs, sr.SquaredLoss(y), time=times, rtol=1e-9)
    assert orbit.attrs["status"] == "horizon"
    assert relative(orbit.parameters, theta) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_events_of_a_flow_that_runs_away_are_sound(seed: int) -> None:
    """Parameters go to infinity; ranks fall one event after the other, and only small values."""
    outputs, y = ill_conditioned(seed)
    orbit = sr.flow(outputs, sr.SquaredLoss(y))
    assert orbit.attrs["status"] != "converged"
    # The loss may rise by what the parameters may err, no more.
    slope = orbit.largest_singular_value.values[1:] * np.sqrt(2 * orbit.loss.values[1:] / 30)
    rise = np.diff(orbit.loss) / (slope * np.diff(orbit.parameter_error) + 1e-14)
    assert rise.max() < 10.0
    events = [(event["time"], event["rank"]) for event in orbit.attrs["events"]]
    assert len(set(events)) == len(events)
    for event in orbit.attrs["events"]:
        assert event["rank"] > 0
        assert event["largest_lost"] < 0.1 * float(orbit.largest_singular_value.min())
