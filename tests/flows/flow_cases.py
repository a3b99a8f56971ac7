"""Networks, truths and independent oracles that the tests of the flows share."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import scipy.integrate
import torch
from torch import nn

import subriem as sr

TRUTHS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "training.json").read_text(encoding="utf-8")
)
ACTIVATIONS = {"tanh": nn.Tanh, "gelu": nn.GELU, "relu": nn.ReLU, "linear": nn.Identity}


def mlp(widths: list[int], act: str = "tanh", *, bias: bool = True, seed: int = 0) -> nn.Module:
    """A multilayer perceptron in float64, drawn without touching the global generator."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for number, (wide, out) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(wide, out, bias=bias, dtype=torch.float64))
        if number < len(widths) - 2:
            layers.append(ACTIVATIONS[act]())
    module = nn.Sequential(*layers)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 1.0 if parameter.ndim == 1 else parameter.shape[1] ** -0.5
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(scale * drawn)
    return module


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def case_map(case: dict[str, Any]) -> sr.OutputMap:
    """The output map of a case of training.json at its theta0."""
    module = mlp(case["widths"], case["act"], bias=case["bias"])
    outputs = sr.OutputMap(module, torch.tensor(case["inputs"], dtype=torch.float64))
    outputs.load(torch.tensor(case["theta0"], dtype=torch.float64))
    return sr.OutputMap(module, outputs.inputs)


def named(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Arguments of pytest.mark.parametrize for the cases of one list of training.json."""
    return {"argvalues": cases, "ids": [case["name"] for case in cases]}


class Formula(nn.Module):
    """x_j = sum_k inputs_jk f_k(theta): a model written by hand, without any layer."""

    def __init__(self, start: Any, formula: Any) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(start, dtype=torch.float64))
        self.formula = formula

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs @ self.formula(self.theta)[:, None]


def formula_map(start: Any, formula: Any, count: int) -> sr.OutputMap:
    """The map theta -> (f_1(theta), ..., f_count(theta)), one sample a component."""
    return sr.OutputMap(Formula(start, formula), np.eye(count))


class Dense:
    """x and D of a map by torch's own reverse mode, for oracles that share no code with it."""

    def __init__(self, outputs: sr.OutputMap) -> None:
        self.module = outputs.module
        self.inputs = outputs.inputs
        self.shapes = {n: p.shape for n, p in self.module.named_parameters() if p.requires_grad}

    def outputs(self, theta: torch.Tensor) -> torch.Tensor:
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = dict(zip(self.shapes, torch.split(theta, sizes), strict=True))
        named = {name: part.view(self.shapes[name]) for name, part in parts.items()}
        return torch.func.functional_call(self.module, named, (self.inputs,)).reshape(-1)

    def x(self, theta: np.ndarray) -> np.ndarray:
        return self.outputs(torch.from_numpy(np.array(theta))).detach().numpy()

    def jacobian(self, theta: np.ndarray) -> np.ndarray:
        point = torch.from_numpy(np.array(theta))
        return torch.autograd.functional.jacobian(self.outputs, point, vectorize=True).numpy()


def squared_gradient(x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return (x - targets.reshape(-1)) / targets.shape[0]


def softmax(x: np.ndarray) -> np.ndarray:
    shifted = np.exp(x - x.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def cross_entropy_gradient(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return ((softmax(x.reshape(labels.shape)) - labels) / labels.shape[0]).reshape(-1)


def raw_ode(
    outputs: sr.OutputMap,
    gradient: Any,
    times: np.ndarray,
    *,
    tau: float = 1.0,
    rcond: float = 1e-10,
    method: str = "DOP853",
    rtol: float = 1e-12,
) -> tuple[np.ndarray, np.ndarray]:
    """theta and path length at the times, of theta' = -(tau D+ + (1-tau) D') g, from 0."""
    dense = Dense(outputs)

    def field(_: float, state: np.ndarray) -> np.ndarray:
        jacobian = dense.jacobian(state[:-1])
        g = gradient(dense.x(state[:-1]))
        velocity = -(1.0 - tau) * jacobian.T @ g
        if tau:
            velocity -= tau * np.linalg.lstsq(jacobian, g, rcond=rcond)[0]
        return np.append(velocity, np.linalg.norm(velocity))

    start = np.append(outputs.parameters.numpy(), 0.0)
    found = scipy.integrate.solve_ivp(
        field, (0.0, float(times[-1])), start, method, t_eval=times, rtol=rtol, atol=rtol
    )
    assert found.success, found.message
    return found.y[:-1].T, found.y[-1]


def squared_truth(outputs: sr.OutputMap, targets: Any, times: Any) -> tuple[np.ndarray, np.ndarray]:
    """x and C of the adapted flow with full row rank, by the formula."""
    y = np.asarray(targets, dtype=float).reshape(-1)
    x0 = Dense(outputs).x(outputs.parameters.numpy())
    decay = np.exp(-np.asarray(times, dtype=float) / outputs.samples)[:, None]
    x = y + decay * (x0 - y)
    return x, ((x - y) ** 2).sum(1) / (2 * outputs.samples)


def relative(found: Any, wanted: Any) -> float:
    """Largest |found - wanted| over |wanted|, by rows where there are several."""
    found, wanted = np.asarray(found, dtype=float), np.asarray(wanted, dtype=float)
    assert found.shape == wanted.shape
    if wanted.ndim < 2:
        return float(np.max(np.abs(found - wanted) / np.abs(wanted)))
    size = np.linalg.norm(wanted.reshape(len(wanted), -1), axis=1)
    return float((np.linalg.norm((found - wanted).reshape(len(wanted), -1), axis=1) / size).max())


def check_full_rank_orbit(orbit: Any, outputs: sr.OutputMap, targets: Any) -> None:
    """What the paper says of every adapted orbit with full row rank, from the orbit's outputs."""
    count, size = outputs.samples, outputs.size
    y = np.asarray(targets, dtype=float).reshape(-1)
    assert orbit.attrs["regime"] == "full row rank"
    assert orbit.attrs["status"] == "converged"
    assert orbit.attrs["events"] == []
    times = orbit.time.values
    assert times[0] == 0.0
    assert (np.diff(times) > 0).all()
    path, losses = squared_truth(outputs, targets, times)
    # The loss, to 1e-6 of the formula at every stored time, and said to be so in advance.
    assert relative(orbit.loss, losses) < 1e-6
    assert relative(orbit.predicted_loss, losses) < 1e-6
    # The stopping time, predicted and met.
    tolerance = orbit.attrs["tolerance"]
    stop = count / 2 * np.log(losses[0] / tolerance)
    assert abs(orbit.attrs["stopping_time"] - stop) < 1e-9 * stop
    assert abs(times[-1] - stop) < 1e-6
    assert orbit.loss[-1] <= tolerance * (1 + 1e-6)
    assert orbit.loss[-2] > tolerance
    # The outputs and the loss are those of the parameters, and the tracking error is theirs.
    dense = Dense(outputs)
    found = orbit.outputs.values.reshape(len(times), size)
    rounding = 1e-13 * (1 + np.linalg.norm(y) + np.linalg.norm(path[0]))
    for theta, x, loss, error, known in zip(
        orbit.parameters.values, found, orbit.loss.values, orbit.tracking_error.values, path,
        strict=True,
    ):  # fmt: skip
        assert np.linalg.norm(dense.x(theta) - x) < rounding
        distance = np.linalg.norm(x - y)
        assert abs(loss - distance**2 / (2 * count)) < 1e-12 * loss
        assert abs(error - np.linalg.norm(x - known)) < rounding
        assert error <= 1e-4 * distance
    # Length and accuracy of the parameters.
    lengths = orbit.path_length.values
    moves = np.linalg.norm(np.diff(orbit.parameters.values, axis=0), axis=1)
    slack = 1e-9 * (1 + lengths[-1]) + np.diff(orbit.parameter_error.values)
    assert lengths[0] == 0.0
    assert (np.diff(lengths) >= moves * (1 - 1e-3) - slack).all()
    # The spectrum.
    assert (orbit["rank"].values == size).all()
    for number in (0, len(times) // 2, -1):
        values = np.linalg.svd(dense.jacobian(orbit.parameters.values[number]), compute_uv=False)
        assert abs(orbit.smallest_singular_value[number] - values[-1]) < 1e-6 * values[-1]
        assert abs(orbit.largest_singular_value[number] - values[0]) < 1e-10 * values[0]
        assert (orbit.rank_tolerance[number] < values[-1]).item()
    assert (orbit.final_parameters.values == orbit.parameters.values[-1]).all()
