"""The cross-entropy under the flows: its output-space flow, stopping time, straight segment."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import torch
from flow_cases import (
    Dense,
    cross_entropy_gradient,
    mlp,
    normal,
    raw_ode,
    relative,
    softmax,
)

import subriem as sr

TIGHT = {"rtol": 1e-9, "max_steps": 5000}


def case(seed: int = 0, smoothing: float = 0.1) -> tuple[sr.OutputMap, sr.CrossEntropyLoss]:
    outputs = sr.OutputMap(mlp([2, 10, 3], seed=seed), normal(4, 2, seed=seed + 1))
    return outputs, sr.CrossEntropyLoss([0, 2, 1, 1], smoothing=smoothing)


def kl(x: np.ndarray, labels: np.ndarray) -> float:
    """Mean KL(labels | softmax x), by log1p of the ratio so that it keeps digits."""
    ratio = softmax(x.reshape(labels.shape)) / labels - 1
    return float((labels * (ratio - np.log1p(ratio))).sum()) / len(labels)


def test_the_outputs_follow_the_flow_of_the_logits() -> None:
    outputs, loss = case()
    times = np.array([0.5, 4.0, 30.0, 120.0])
    orbit = sr.flow(outputs, loss, time=times)
    x0 = outputs().numpy()
    found = scipy.integrate.solve_ivp(
        lambda _, x: -cross_entropy_gradient(x, loss.targets),
        (0.0, 120.0), x0, "Radau", t_eval=times, rtol=1e-11, atol=1e-13,
    )  # fmt: skip
    assert np.abs(orbit.outputs.values.reshape(4, -1) - found.y.T).max() < 1e-8
    sums = x0.reshape(4, 3).sum(1)
    assert np.abs(orbit.outputs.sum("output") - sums).max() < 1e-9
    assert relative(orbit.loss, orbit.predicted_loss) < 1e-9
    assert orbit.attrs["regime"] == "full row rank"


def test_the_parameters_are_scipys_solution_of_the_raw_ode() -> None:
    outputs, loss = case()
    times = np.array([1.0, 10.0])
    theta, length = raw_ode(outputs, lambda x: cross_entropy_gradient(x, loss.targets), times)
    orbit = sr.flow(outputs, loss, time=times, **TIGHT)
    assert relative(orbit.parameters, theta) < 1e-8
    assert relative(orbit.path_length, length) < 1e-6


@pytest.mark.parametrize("kind", ["adapted", "straight"])
@pytest.mark.parametrize("seed", range(4))
def test_the_stopping_time_is_predicted_and_met(kind: str, seed: int) -> None:
    outputs, loss = case(seed)
    orbit = sr.flow(outputs, loss, kind)
    assert orbit.attrs["status"] == "converged"
    assert abs(orbit.time[-1] / orbit.attrs["stopping_time"] - 1) < 1e-9
    dense = Dense(outputs)
    first = kl(dense.x(outputs.parameters.numpy()), loss.targets)
    assert abs(orbit.attrs["tolerance"] / (1e-12 * first) - 1) < 1e-9
    last = kl(dense.x(orbit.final_parameters.values), loss.targets)
    assert abs(last / orbit.attrs["tolerance"] - 1) < 1e-5
    assert abs(orbit.attrs["minimum_loss"] - loss.minimum) == 0.0
    assert abs(orbit.loss[-1] - loss.minimum) < 1e-11


@pytest.mark.parametrize("kind", ["adapted", "straight"])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-6, 1e-14])
def test_the_tolerance_counts_from_the_minimum(kind: str, tolerance: float) -> None:
    outputs, loss = case()
    orbit = sr.flow(outputs, loss, kind, tolerance=tolerance)
    assert orbit.attrs["status"] == "converged"
    last = kl(Dense(outputs).x(orbit.final_parameters.values), loss.targets)
    assert abs(last / tolerance - 1) < 1e-4


def test_the_straight_flow_runs_to_the_minimizer() -> None:
    outputs, loss = case()
    t = [0.25, 0.5, 0.75]
    orbit = sr.flow(outputs, loss, "straight", time=t)
    x0 = outputs().numpy().reshape(4, 3)
    logs = np.log(loss.targets)
    end = logs + (x0 - logs).mean(1, keepdims=True)
    for number, time in enumerate(t):
        known = (1 - time) * x0 + time * end
        assert np.abs(orbit.outputs.values[number] - known).max() < 1e-9
    assert relative(orbit.loss, orbit.predicted_loss) < 1e-9


@pytest.mark.parametrize("kind", ["adapted", "straight"])
def test_the_end_of_training_is_the_labels(kind: str) -> None:
    outputs, loss = case()
    orbit = sr.flow(outputs, loss, kind)
    assert np.abs(softmax(orbit.outputs[-1].values) - loss.targets).max() < 1e-5
    assert abs(orbit.loss[-1] - loss.minimum) < 1e-11


def test_small_labels_slow_the_flow_down_and_are_waited_for() -> None:
    outputs, loss = case(smoothing=3e-3)
    orbit = sr.flow(outputs, loss, tolerance=1e-8)
    assert orbit.attrs["status"] == "converged"
    # Near the end the rate is at least the smallest label over N, and of that order.
    assert orbit.time[-1] > 4 * math.log(1e3)
    assert abs(orbit.time[-1] / orbit.attrs["stopping_time"] - 1) < 1e-9


def test_the_measured_rate_is_that_of_the_excess() -> None:
    """ln(excess_0 / excess_end) over the time, although the loss itself ends at its minimum."""
    outputs, loss = case()
    orbit = sr.flow(outputs, loss)
    dense = Dense(outputs)
    first = kl(dense.x(orbit.parameters.values[0]), loss.targets)
    last = kl(dense.x(orbit.parameters.values[-1]), loss.targets)
    rate = math.log(first / last) / float(orbit.time[-1] - orbit.time[0])
    assert abs(orbit.attrs["measured_rate"] / rate - 1) < 1e-6


@pytest.mark.slow
def test_contradictory_duplicates_settle() -> None:
    """Two labels for one input: the equilibrium has the mean of the labels there."""
    inputs = normal(4, 2, seed=1)
    inputs[3] = inputs[0]
    outputs = sr.OutputMap(mlp([2, 14, 3]), inputs)
    loss = sr.CrossEntropyLoss([0, 1, 2, 1], smoothing=0.1)
    orbit = sr.flow(outputs, loss, rtol=1e-4)
    assert orbit.attrs["regime"] == "rank-deficient"
    assert orbit.attrs["status"] == "equilibrium"
    assert (orbit["rank"] == 9).all()
    mean = loss.targets.copy()
    mean[[0, 3]] = mean[[0, 3]].mean(0)
    assert np.abs(softmax(orbit.outputs[-1].values) - mean).max() < 1e-5
    limit = kl(np.log(mean), loss.targets)
    assert abs((orbit.loss[-1] - loss.minimum) / limit - 1) < 1e-8


@pytest.mark.parametrize("kind", ["adapted", "straight"])
def test_single_precision(kind: str) -> None:
    outputs, loss = case()
    rough = sr.OutputMap(mlp([2, 10, 3]).float(), outputs.inputs)
    orbit = sr.flow(rough, loss, kind)
    assert orbit.attrs["status"] == "converged"
    last = kl(orbit.outputs.values[-1].astype(float), loss.targets)
    assert last < 1e-5 * kl(outputs().numpy(), loss.targets)
    eps = torch.finfo(torch.float32).eps
    size = float(np.linalg.norm(orbit.outputs.values[-1]))
    assert float(orbit.tracking_error.max()) < 100 * eps * max(size, 1.0)
