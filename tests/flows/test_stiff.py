"""The gradient and interpolated flows, against closed forms and against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from flow_cases import (
    cross_entropy_gradient,
    formula_map,
    mlp,
    normal,
    raw_ode,
    relative,
    squared_gradient,
    squared_truth,
)

import subriem as sr


def net() -> tuple[sr.OutputMap, np.ndarray]:
    return sr.OutputMap(mlp([2, 7, 2]), normal(4, 2, seed=1)), normal(4, 2, seed=2)


def test_a_linear_model_by_the_matrix_exponential() -> None:
    """theta' = -A'(A theta - y)/N, with eigenvalues over four decades."""
    matrix = normal(5, 5, seed=1) @ np.diag([10.0, 3.0, 1.0, 0.3, 0.1])
    a = torch.from_numpy(matrix)
    outputs = formula_map(np.zeros(5), lambda p: a @ p, 5)
    y = normal(5, seed=2)
    times = np.array([0.01, 1.0, 100.0, 10000.0])
    orbit = sr.flow(outputs, sr.SquaredLoss(y), "gradient", time=times, rtol=1e-9)
    best = np.linalg.solve(matrix, y)
    known = np.stack([best - scipy.linalg.expm(-s / 5 * matrix.T @ matrix) @ best for s in times])
    assert relative(orbit.parameters, known) < 1e-6


@pytest.mark.parametrize("tau", [0.0, 0.25, 0.8, 1.0])
def test_the_balanced_product_by_hand(tau: float) -> None:
    """x = a b, a = b, N = 1: x' = -(tau + 2 (1 - tau) x)(x - y), solved by partial fractions."""
    outputs = formula_map([0.5, 0.5], lambda p: p[0:1] * p[1:2], 1)
    y, b = 2.0, 2 * (1 - tau)
    times = np.array([0.1, 0.7, 2.0])
    u = (0.25 - y) / (tau + 0.25 * b) * np.exp(-(tau + b * y) * times)
    x = (y + tau * u) / (1 - b * u)
    orbit = sr.flow(
        outputs, sr.SquaredLoss([y]), "interpolated", tau=tau, time=times, rtol=1e-9
    )  # fmt: skip
    assert relative(orbit.outputs[:, 0, 0], x) < 1e-6
    assert relative(orbit.parameters, np.sqrt([x, x]).T) < 1e-6
    assert relative(orbit.path_length, math.sqrt(2) * (np.sqrt(x) - 0.5)) < 1e-6


@pytest.mark.parametrize("tau", [0.0, 0.1, 0.7])
def test_the_family_is_scipys_solution_of_the_raw_ode(tau: float) -> None:
    outputs, y = net()
    times = np.array([0.5, 4.0])
    theta, length = raw_ode(outputs, lambda x: squared_gradient(x, y), times, tau=tau)
    orbit = sr.flow(
        outputs, sr.SquaredLoss(y), "interpolated", tau=tau, time=times, rtol=1e-9
    )  # fmt: skip
    assert relative(orbit.parameters, theta) < 1e-6
    assert relative(orbit.path_length, length) < 1e-6


def test_the_error_falls_with_the_tolerance() -> None:
    outputs, y = net()
    times = np.array([3.0])
    theta, _ = raw_ode(outputs, lambda x: squared_gradient(x, y), times, tau=0.0)
    errors = []
    for rtol in (1e-3, 1e-5, 1e-7, 1e-9):
        orbit = sr.flow(outputs, sr.SquaredLoss(y), "gradient", time=times, rtol=rtol)
        errors.append(relative(orbit.parameters, theta))
    assert errors[1] < 0.2 * errors[0] + 1e-5
    assert errors[2] < 0.2 * errors[1]
    assert errors[3] < 0.2 * errors[2]
    for rtol, error in zip((1e-3, 1e-5, 1e-7, 1e-9), errors, strict=True):
        assert error < 300 * rtol


@pytest.mark.slow
def test_the_ends_of_the_family_are_the_two_flows() -> None:
    outputs, y = net()
    loss = sr.SquaredLoss(y)
    times = [0.5, 4.0]
    gradient = sr.flow(outputs, loss, "gradient", time=times, rtol=1e-9)
    zero = sr.flow(outputs, loss, "interpolated", tau=0.0, time=times, rtol=1e-9)
    assert (zero.parameters.values == gradient.parameters.values).all()
    adapted = sr.flow(outputs, loss, time=times, rtol=1e-9)
    one = sr.flow(outputs, loss, "interpolated", tau=1.0, time=times, rtol=1e-9)
    assert relative(one.parameters, adapted.parameters) < 1e-6
    assert relative(one.path_length, adapted.path_length) < 1e-6
    assert relative(one.loss, squared_truth(outputs, y, times)[1]) < 1e-5
    assert gradient.attrs["tau"] is None
    assert zero.attrs["tau"] == 0.0


def test_tau_orders_the_flows() -> None:
    """The family is a real one: neither end is what lies between."""
    outputs, y = net()
    losses = [
        float(sr.flow(outputs, sr.SquaredLoss(y), "interpolated", tau=t, time=[2.0]).loss[0])
        for t in (0.0, 0.5, 1.0)
    ]
    assert len(set(np.round(losses, 6))) == 3


def test_an_under_parametrized_interpolation_is_scipys() -> None:
    outputs = sr.OutputMap(mlp([2, 3, 1]), normal(25, 2, seed=1))
    x = outputs(outputs.parameters + 0.15 * torch.from_numpy(normal(13, seed=2)))
    y = x.numpy().reshape(25, 1) + 0.05 * normal(25, 1, seed=3)
    times = np.array([2.0, 10.0])
    theta, _ = raw_ode(outputs, lambda z: squared_gradient(z, y), times, tau=0.5, rtol=1e-10)
    orbit = sr.flow(outputs, sr.SquaredLoss(y), "interpolated", tau=0.5, time=times, rtol=1e-9)
    assert orbit.attrs["regime"] == "under-parametrized"
    assert relative(orbit.parameters, theta) < 1e-6


def test_cross_entropy_under_the_family() -> None:
    outputs = sr.OutputMap(mlp([2, 7, 3]), normal(4, 2, seed=1))
    loss = sr.CrossEntropyLoss([0, 2, 1, 1], smoothing=0.1)
    times = np.array([1.0, 6.0])
    for kind, tau in (("gradient", 0.0), ("interpolated", 0.5)):
        theta, _ = raw_ode(
            outputs, lambda x: cross_entropy_gradient(x, loss.targets), times, tau=tau
        )
        given = None if kind == "gradient" else tau
        orbit = sr.flow(outputs, loss, kind, tau=given, time=times, rtol=1e-9)
        assert relative(orbit.parameters, theta) < 1e-6


def test_the_gradient_flow_goes_downhill_and_knows_no_prediction() -> None:
    outputs, y = net()
    orbit = sr.flow(outputs, sr.SquaredLoss(y), "gradient", time=10.0)
    assert (np.diff(orbit.loss) < 0).all()
    assert np.isnan(orbit.predicted_loss).all()
    assert np.isnan(orbit.tracking_error).all()
    assert math.isnan(orbit.attrs["stopping_time"])
    assert math.isnan(orbit.attrs["predicted_rate"])


def test_by_default_it_runs_over_the_adapted_flows_time() -> None:
    outputs, y = net()
    gradient = sr.flow(outputs, sr.SquaredLoss(y), "gradient", tolerance=1e-4)
    adapted = sr.flow(outputs, sr.SquaredLoss(y), tolerance=1e-4)
    assert gradient.time[-1] <= adapted.time[-1] * (1 + 1e-12)
    assert gradient.attrs["status"] in ("horizon", "converged")
    if gradient.attrs["status"] == "horizon":
        assert abs(gradient.time[-1] / adapted.attrs["stopping_time"] - 1) < 1e-12


def test_a_start_at_rest_stays() -> None:
    """x = theta^2/2 at theta = 0: D = 0, for every member of the family."""
    outputs = formula_map([0.0], lambda p: p**2 / 2, 1)
    for kind, tau in (("gradient", None), ("interpolated", 0.5)):
        orbit = sr.flow(outputs, sr.SquaredLoss([1.0]), kind, tau=tau, time=5.0)
        assert (orbit.parameters == 0.0).all()
        assert (orbit.loss == 0.5).all()


def test_single_precision_gradient_flow() -> None:
    outputs, y = net()
    exact = sr.flow(outputs, sr.SquaredLoss(y), "gradient", time=[1.0, 5.0], rtol=1e-9)
    rough = sr.OutputMap(mlp([2, 7, 2]).float(), outputs.inputs)
    orbit = sr.flow(rough, sr.SquaredLoss(y), "gradient", time=[1.0, 5.0], rtol=1e-4)
    assert relative(orbit.parameters, exact.parameters) < 1e-2
    assert orbit.attrs["status"] == "horizon"
