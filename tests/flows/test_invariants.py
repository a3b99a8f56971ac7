"""Closed forms by hand, and what the flows keep or do not depend on."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from flow_cases import Formula, formula_map, mlp, normal, raw_ode, relative, squared_gradient
from torch import nn

import subriem as sr

TIGHT = {"rtol": 3e-9, "max_steps": 5000}


def tight(kind: str) -> dict[str, float]:
    """The options of `TIGHT` that a kind of flow has: a step budget goes with a known path."""
    return TIGHT if kind in ("adapted", "straight") else {"rtol": 3e-9}


# ---------------------------------------------------------------------- closed forms


def test_the_identity_by_hand() -> None:
    """x = theta, N = 1: theta(s) = y + e^{-s}(theta_0 - y), a straight line of known length."""
    outputs = formula_map([2.0], lambda theta: theta, 1)
    orbit = sr.flow(outputs, sr.SquaredLoss([-1.0]), time=[0.5, 1.0, 5.0])
    decay = np.exp(-np.array([0.5, 1.0, 5.0]))
    assert np.abs(orbit.parameters.values[:, 0] - (-1 + 3 * decay)).max() < 1e-14
    assert np.abs(orbit.path_length - 3 * (1 - decay)).max() < 1e-14
    assert np.abs(orbit.loss - 4.5 * decay**2).max() < 1e-14
    assert (orbit.smallest_singular_value == 1.0).all()


def test_a_linear_model_is_lifted_explicitly() -> None:
    """x = A theta + b with A of full row rank: theta = theta_0 + (1 - e^{-s/N}) A+ (y - x_0)."""
    matrix, bias = normal(4, 9, seed=1), normal(4, seed=2)
    a, b = torch.from_numpy(matrix), torch.from_numpy(bias)
    outputs = formula_map(normal(9, seed=3), lambda theta: a @ theta + b, 4)
    y, start = normal(4, seed=4), outputs.parameters.numpy()
    move = np.linalg.pinv(matrix) @ (y - matrix @ start - bias)
    times = np.array([0.3, 2.0, 11.0])
    run = 1 - np.exp(-times / 4)
    orbit = sr.flow(outputs, sr.SquaredLoss(y), time=times)
    assert relative(orbit.parameters, start + run[:, None] * move) < 1e-13
    assert relative(orbit.path_length, run * np.linalg.norm(move)) < 1e-13
    assert orbit.parameter_error[-1] < 1e-13
    sigma = np.linalg.svd(matrix, compute_uv=False)
    assert relative(orbit.singular_values, np.tile(sigma, (3, 1))) < 1e-12


@pytest.mark.parametrize("start", [(0.9, 0.2), (0.5, 0.5), (1.5, -1.0)])
def test_the_product_by_hand(start: tuple[float, float]) -> None:
    """x = a b: a^2 - b^2 stays, so that x(s) = y + e^{-s}(x_0 - y) gives a and b."""
    outputs = formula_map(start, lambda theta: theta[0:1] * theta[1:2], 1)
    y = 2.0 if start[1] > 0 else -3.0
    times = np.array([0.2, 1.0, 6.0])
    orbit = sr.flow(outputs, sr.SquaredLoss([y]), time=times, **TIGHT)
    x = y + np.exp(-times) * (start[0] * start[1] - y)
    kept = start[0] ** 2 - start[1] ** 2
    a = np.sqrt((kept + np.sqrt(kept**2 + 4 * x**2)) / 2)
    assert relative(orbit.parameters, np.stack([a, x / a], axis=1)) < 1e-9
    assert relative(orbit.largest_singular_value, np.hypot(a, x / a)) < 1e-9


def test_the_balanced_product_has_a_known_length() -> None:
    outputs = formula_map([0.5, 0.5], lambda theta: theta[0:1] * theta[1:2], 1)
    orbit = sr.flow(outputs, sr.SquaredLoss([4.0]), "straight", time=[0.25, 0.8], **TIGHT)
    a = np.sqrt(0.25 + np.array([0.25, 0.8]) * 3.75)
    assert relative(orbit.parameters, np.stack([a, a], axis=1)) < 1e-10
    assert relative(orbit.path_length, math.sqrt(2) * (a - 0.5)) < 1e-8


# ---------------------------------------------------------------------- deep linear networks


def deep_linear(seed: int = 0) -> sr.OutputMap:
    return sr.OutputMap(mlp([3, 4, 2, 3], "linear", bias=False, seed=seed), normal(2, 3, seed=5))


def balances(outputs: sr.OutputMap, theta: np.ndarray) -> np.ndarray:
    """W_{i+1}' W_{i+1} - W_i W_i' of x = W_3 W_2 W_1 a."""
    weights = list(outputs.unflatten(torch.from_numpy(theta.copy())).values())
    found = [
        (after.T @ after - before @ before.T).reshape(-1) for before, after in pairwise(weights)
    ]
    return torch.cat(found).numpy()


@pytest.mark.parametrize(
    ("kind", "tau"),
    [("adapted", None), ("straight", None), ("gradient", None), ("interpolated", 0.4)],
)
def test_balancedness_is_conserved(kind: str, tau: float | None) -> None:
    """By every flow in range D', to the accuracy that is asked of the parameters."""
    outputs = deep_linear()
    loss = sr.SquaredLoss(normal(2, 3, seed=6))
    horizon = 0.7 if kind == "straight" else 2.4
    orbit = sr.flow(outputs, loss, kind, tau=tau, time=horizon, **tight(kind))
    first = balances(outputs, orbit.parameters.values[0])
    last = balances(outputs, orbit.parameters.values[-1])
    assert orbit.loss[-1] < 0.5 * orbit.loss[0]
    assert np.linalg.norm(orbit.parameters[-1] - orbit.parameters[0]) > 0.3
    # Followed to 3e-9; CVODE's tolerance is a local one, as large as the sum of its steps.
    assert np.abs(last - first).max() < (3e-6 if kind in ("gradient", "interpolated") else 1e-7)


def test_balancedness_drifts_by_no_more_than_the_error_reported() -> None:
    """The default accuracy: the drift is of the size of ``parameter_error``, or less."""
    outputs = deep_linear()
    orbit = sr.flow(outputs, sr.SquaredLoss(normal(2, 3, seed=6)), rtol=1e-4)
    first = balances(outputs, orbit.parameters.values[0])
    size = np.abs(orbit.parameters.values).max()
    for theta, error in zip(orbit.parameters.values, orbit.parameter_error.values, strict=True):
        assert np.abs(balances(outputs, theta) - first).max() <= 20 * size * error + 1e-12
    assert orbit.parameter_error[-1] > 1e-12


# ---------------------------------------------------------------------- one curve, many clocks


def net(samples: int = 4, seed: int = 0) -> tuple[sr.OutputMap, np.ndarray]:
    outputs = sr.OutputMap(mlp([2, 7, 2], seed=seed), normal(samples, 2, seed=seed + 1))
    return outputs, normal(samples, 2, seed=seed + 2)


def test_straight_and_adapted_trace_the_same_curve() -> None:
    outputs, y = net()
    loss = sr.SquaredLoss(y)
    t = np.array([0.1, 0.5, 0.9, 0.999])
    straight = sr.flow(outputs, loss, "straight", time=t, **TIGHT)
    adapted = sr.flow(outputs, loss, "adapted", time=-4 * np.log1p(-t), **TIGHT)
    for name in ("parameters", "outputs", "path_length", "loss", "smallest_singular_value"):
        assert relative(straight[name], adapted[name]) < 1e-9, name


def test_an_orbit_may_be_resumed_from_the_middle() -> None:
    outputs, y = net()
    loss = sr.SquaredLoss(y)
    whole = sr.flow(outputs, loss, time=[1.5, 4.0], **TIGHT)
    rest = sr.flow(outputs, loss, start=whole.parameters[0], time=[2.5], **TIGHT)
    assert relative(rest.parameters, whole.parameters[1:]) < 1e-9
    parts = float(whole.path_length[0]) + rest.path_length.values
    assert relative(parts, whole.path_length[1:]) < 1e-8


class Turned(nn.Module):
    """theta = R phi with R orthogonal: other coordinates of the same Euclidean space."""

    def __init__(self, inner: sr.OutputMap, rotation: torch.Tensor) -> None:
        super().__init__()
        self.phi = nn.Parameter(rotation.T @ inner.parameters)
        self.register_buffer("rotation", rotation)
        self.inner = [inner]  # in a list, so that its parameters are not this module's

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inner = self.inner[0]
        names = inner.unflatten(self.rotation @ self.phi)
        return torch.func.functional_call(inner.module, names, (inputs,))


@pytest.mark.parametrize(("kind", "tau"), [("adapted", None), ("interpolated", 0.3)])
def test_an_orthogonal_reparametrization_changes_nothing(kind: str, tau: float | None) -> None:
    outputs, y = net()
    rotation = torch.linalg.qr(torch.from_numpy(normal(37, 37, seed=8))).Q[
        : outputs.dimension, : outputs.dimension
    ]
    rotation = torch.linalg.qr(rotation).Q
    turned = sr.OutputMap(Turned(outputs, rotation), outputs.inputs)
    assert turned.dimension == outputs.dimension
    loss = sr.SquaredLoss(y)
    times = [0.5, 3.0]
    one = sr.flow(outputs, loss, kind, tau=tau, time=times, **tight(kind))
    other = sr.flow(turned, loss, kind, tau=tau, time=times, **tight(kind))
    assert relative(other.outputs, one.outputs) < 1e-7
    assert relative(other.path_length, one.path_length) < 1e-7
    assert relative(other.singular_values, one.singular_values) < 1e-7
    back = other.parameters.values @ rotation.numpy().T
    assert relative(back, one.parameters) < 1e-7


def test_duplicating_the_whole_data_set_doubles_the_time() -> None:
    """D+ of D stacked twice is D+ halved: the same curve, s -> 2 s, and the same loss."""
    outputs, y = net()
    twice = sr.OutputMap(outputs.module, torch.cat([outputs.inputs, outputs.inputs]))
    times = np.array([0.5, 2.0, 6.0])
    one = sr.flow(outputs, sr.SquaredLoss(y), time=times, **TIGHT)
    two = sr.flow(twice, sr.SquaredLoss(np.concatenate([y, y])), time=2 * times, **TIGHT)
    assert two.attrs["regime"] == "rank-deficient"
    assert (two["rank"] == 8).all()
    assert relative(two.loss, one.loss) < 1e-9
    assert relative(two.parameters, one.parameters) < 1e-9
    end = sr.flow(twice, sr.SquaredLoss(np.concatenate([y, y])))
    assert end.attrs["status"] == "converged"
    assert end.loss[-1] <= 1e-12 * (1 + 1e-6) * end.loss[0]


def test_the_order_of_the_samples_does_not_matter() -> None:
    outputs, y = net()
    order = [2, 0, 3, 1]
    mixed = sr.OutputMap(outputs.module, outputs.inputs[order])
    one = sr.flow(outputs, sr.SquaredLoss(y), time=[3.0], **TIGHT)
    two = sr.flow(mixed, sr.SquaredLoss(y[order]), time=[3.0], **TIGHT)
    assert relative(two.parameters, one.parameters) < 1e-9


def test_the_path_is_the_shortest_of_those_over_the_same_outputs() -> None:
    """Horizontal: every velocity is orthogonal to the kernel of D."""
    outputs, y = net()
    orbit = sr.flow(outputs, sr.SquaredLoss(y), time=np.linspace(0.0, 2.0, 81), **TIGHT)
    theta = orbit.parameters.values
    for number in (10, 40, 70):
        velocity = (theta[number + 1] - theta[number - 1]) / 0.05
        jacobian = outputs.jacobian(theta[number]).numpy()
        inside = np.linalg.pinv(jacobian) @ (jacobian @ velocity)
        assert np.linalg.norm(velocity - inside) < 1e-3 * np.linalg.norm(velocity)
        known = -np.linalg.pinv(jacobian) @ squared_gradient(
            orbit.outputs.values[number].reshape(-1), y
        )
        assert np.linalg.norm(velocity - known) < 1e-3 * np.linalg.norm(known)


# ---------------------------------------------------------------------- SciPy on the raw ODE


@pytest.mark.parametrize("act", ["tanh", "gelu"])
def test_adapted_is_scipys_solution_of_the_raw_ode(act: str) -> None:
    outputs = sr.OutputMap(mlp([2, 7, 2], act), normal(4, 2, seed=1))
    y = normal(4, 2, seed=2)
    times = np.array([0.5, 2.0, 8.0])
    theta, length = raw_ode(outputs, lambda x: squared_gradient(x, y), times)
    orbit = sr.flow(outputs, sr.SquaredLoss(y), time=times, **TIGHT)
    assert relative(orbit.parameters, theta) < 1e-8
    assert relative(orbit.path_length, length) < 1e-6


def test_a_model_without_layers_follows_its_path() -> None:
    """The general path of the Gram matrix, on a formula that no layer rule knows."""
    outputs = sr.OutputMap(
        Formula(normal(6, seed=3), lambda p: torch.stack([p[:3].prod() + p[3], (p**2).sum()])),
        np.array([[1.0, 0.0], [0.5, 1.0]]),
    )
    y = outputs().numpy() + np.array([0.5, 1.0])
    orbit = sr.flow(outputs, sr.SquaredLoss(y))
    assert orbit.attrs["status"] == "converged"
    assert relative(orbit.loss, orbit.loss[0].item() * np.exp(-orbit.time)) < 1e-6
