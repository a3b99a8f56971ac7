"""`flow`: the truths of training.json, networks of every kind, and the public face."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from flow_cases import (
    TRUTHS,
    Dense,
    case_map,
    check_full_rank_orbit,
    mlp,
    named,
    normal,
    relative,
    squared_truth,
)
from torch import nn

import subriem as sr
from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.results import validate

KINDS = ("adapted", "straight", "gradient", "interpolated")


def small() -> tuple[sr.OutputMap, sr.SquaredLoss, np.ndarray]:
    targets = normal(5, 2, seed=2)
    outputs = sr.OutputMap(mlp([3, 8, 2]), normal(5, 3, seed=1))
    return outputs, sr.SquaredLoss(targets), targets


def options(kind: str) -> dict[str, Any]:
    return {"kind": kind, "tau": 0.5} if kind == "interpolated" else {"kind": kind}


# ---------------------------------------------------------------------- truths


@pytest.mark.parametrize("case", **named(TRUTHS["full_rank"]))
def test_full_rank_truths(case: dict) -> None:
    outputs, loss = case_map(case), sr.SquaredLoss(case["labels"])
    size = outputs.size
    orbit = sr.flow(outputs, loss, time=[0.0, *case["s"]], rtol=1e-9, max_steps=5000)
    assert orbit.time.values.tolist() == [0.0, *case["s"]]
    assert orbit.attrs["status"] == "horizon"
    assert orbit.attrs["regime"] == "full row rank"
    assert abs(orbit.attrs["initial_loss"] / case["C0"] - 1) < 1e-14
    assert relative(orbit.loss, [case["C0"], *case["C"]]) < 1e-9
    assert relative(orbit.predicted_loss, [case["C0"], *case["C"]]) < 1e-13
    assert relative(orbit.outputs.values.reshape(-1, size), [case["x0"], *case["x"]]) < 1e-10
    theta = np.array([case["theta0"], *case["theta_numeric"]])
    assert relative(orbit.parameters, theta) < 1e-9
    assert orbit.attrs["loose_steps"] == 0
    lowest = [case["sigma_D0"][-1], *case["sigma_min_along"]]
    assert relative(orbit.smallest_singular_value, lowest) < 1e-9
    assert relative(orbit.singular_values[0], case["sigma_D0"]) < 1e-9
    assert (orbit["rank"] == size).all()


@pytest.mark.parametrize("case", **named(TRUTHS["full_rank"]))
def test_full_rank_orbits_reach_1e_12_on_the_predicted_loss(case: dict) -> None:
    outputs, loss = case_map(case), sr.SquaredLoss(case["labels"])
    orbit = sr.flow(outputs, loss)
    assert orbit.attrs["tolerance"] == 1e-12 * orbit.attrs["initial_loss"]
    check_full_rank_orbit(orbit, outputs, case["labels"])
    assert abs(orbit.attrs["predicted_rate"] - 2 / case["N"]) < 1e-15
    assert abs(orbit.attrs["measured_rate"] * case["N"] / 2 - 1) < 1e-6


@pytest.mark.parametrize("case", **named(TRUTHS["full_rank"]))
def test_the_stopping_times_are_met(case: dict) -> None:
    outputs, loss = case_map(case), sr.SquaredLoss(case["labels"])
    for entry in case["stopping"]:
        orbit = sr.flow(outputs, loss, tolerance=entry["eps"])
        assert orbit.attrs["status"] == "converged"
        assert abs(orbit.attrs["stopping_time"] / entry["s_eps"] - 1) < 1e-12
        assert abs(orbit.time[-1] / entry["s_eps"] - 1) < 1e-12
        assert abs(orbit.loss[-1] / entry["eps"] - 1) < 1e-6


@pytest.mark.parametrize("case", **named(TRUTHS["rank_deficient"] + TRUTHS["underparametrized"]))
def test_deficient_truths(case: dict) -> None:
    outputs, loss = case_map(case), sr.SquaredLoss(case["labels"])
    size = outputs.size
    orbit = sr.flow(outputs, loss, time=case["s"])
    assert orbit.time.values.tolist() == case["s"]
    assert relative(orbit.loss, case["C"]) < 1e-9
    assert relative(orbit.predicted_loss, case["C"]) < 1e-12
    assert relative(orbit.outputs.values.reshape(-1, size), case["x"]) < 1e-9
    assert (orbit["rank"] == case["rank_D"]).all()
    end = sr.flow(outputs, loss)
    assert end.attrs["status"] == "equilibrium"
    assert end.attrs["regime"] == (
        "under-parametrized" if outputs.dimension < size else "rank-deficient"
    )
    assert abs(end.loss[-1] / case["C_inf"] - 1) < 1e-12
    assert math.isnan(end.attrs["stopping_time"])
    sigma = np.array(case["sigma_D0"])
    assert np.abs(end.singular_values[0] - sigma).max() < 1e-9 * sigma[0]


@pytest.mark.parametrize("truth", **named(TRUTHS["geodesics"]))
def test_the_straight_flow_is_the_geodesic_of_the_output_metric(truth: dict) -> None:
    """p_0 = D'u: x(t) = x_0 + t u, theta' = D+ u; at every time asked for, the end included."""
    case = next(c for c in TRUTHS["full_rank"] if c["name"] == truth["name"])
    outputs = case_map(case)
    goal = np.array(case["x0"]) + np.array(truth["u"])
    loss = sr.SquaredLoss(goal.reshape(case["N"], case["Q"]))
    orbit = sr.flow(outputs, loss, kind="straight", time=truth["t"], rtol=1e-9, max_steps=5000)
    known = len(orbit.time)
    assert relative(orbit.parameters, truth["theta_numeric"][:known]) < 1e-9
    assert relative(orbit.outputs.values.reshape(known, -1), truth["x"][:known]) < 1e-11
    assert orbit.time.values.tolist() == truth["t"]


# ---------------------------------------------------------------------- networks of every kind


class Shared(nn.Module):
    """One matrix used twice, and a parameter that acts outside any layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp([3, 6], seed=4)
        self.again = mlp([6, 6], seed=5)
        self.head = mlp([6, 2], seed=6)
        self.gain = nn.Parameter(torch.tensor([0.7], dtype=torch.float64))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.inner(inputs))
        for _ in range(2):
            hidden = torch.tanh(self.again(hidden) * self.gain)
        return self.head(hidden)


def convolutional() -> nn.Module:
    module = nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)
    ).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.4 * drawn)
    return module


def normalised() -> nn.Module:
    inner = mlp([3, 10, 2], seed=7)
    module = nn.Sequential(inner[0], nn.BatchNorm1d(10), nn.LayerNorm(10), nn.GELU(), inner[2])
    module.double().eval()
    with torch.no_grad():
        module[1].running_mean.copy_(torch.linspace(-1, 1, 10))
        module[1].running_var.copy_(torch.linspace(0.5, 2, 10))
    return module


def frozen() -> nn.Module:
    module = mlp([3, 12, 2], seed=8)
    module[0].weight.requires_grad_(False)
    return module


NETWORKS = {
    "tanh": lambda: mlp([3, 16, 2], "tanh"),
    "gelu": lambda: mlp([3, 16, 2], "gelu"),
    "relu": lambda: mlp([3, 64, 2], "relu"),
    "three layers": lambda: mlp([3, 8, 8, 2]),
    "shared": Shared,
    "convolutional": convolutional,
    "normalised": normalised,
    "frozen": frozen,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_follows_the_known_path(name: str) -> None:
    inputs = normal(6, 16 if name == "convolutional" else 3, seed=11)
    targets = normal(6, 2, seed=12)
    outputs = sr.OutputMap(NETWORKS[name](), inputs)
    # Kinks meet a tight tolerance of the parameters only with many steps.
    orbit = sr.flow(outputs, sr.SquaredLoss(targets), rtol=1e-2 if name == "relu" else 1e-6)
    check_full_rank_orbit(orbit, outputs, targets)


def test_the_step_budget_is_kept_on_a_network_with_kinks() -> None:
    outputs = sr.OutputMap(mlp([3, 24, 2], "relu"), normal(3, 3, seed=11))
    targets = normal(3, 2, seed=12)
    orbit = sr.flow(outputs, sr.SquaredLoss(targets), max_steps=10)
    assert orbit.attrs["status"] == "converged"
    assert relative(orbit.loss, squared_truth(outputs, targets, orbit.time)[1]) < 1e-6
    assert orbit.attrs["loose_steps"] > 0
    # The end of the approach takes a step a decade besides.
    assert orbit.attrs["steps"] <= 30


def digits(count: int, *, standardised: bool) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits()
    inputs = data.data[:count]
    if standardised:
        inputs = (inputs - data.data.mean(0)) / (data.data.std(0) + 1e-12)
    return inputs, np.eye(10)[data.target[:count]]


def digits_map(inputs: np.ndarray, width: int) -> sr.OutputMap:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 10)).double()
    return sr.OutputMap(module, inputs)


def check_digits(orbit: xr.Dataset, outputs: sr.OutputMap, targets: np.ndarray) -> None:
    assert orbit.attrs["status"] == "converged"
    _, losses = squared_truth(outputs, targets, orbit.time)
    assert relative(orbit.loss, losses) < 1e-6
    assert orbit.loss[-1] <= 1e-12 * (1 + 1e-6) * losses[0]
    x = Dense(outputs).x(orbit.final_parameters.values)
    final = ((x - targets.reshape(-1)) ** 2).sum() / (2 * len(targets))
    assert abs(final / orbit.loss[-1] - 1) < 1e-9


@pytest.mark.slow
def test_digits_on_a_wide_network() -> None:
    inputs, targets = digits(60, standardised=True)
    outputs = digits_map(inputs, 128)
    orbit = sr.flow(outputs, sr.SquaredLoss(targets), rtol=1e-2, keep=())
    check_digits(orbit, outputs, targets)


@pytest.mark.slow
def test_a_narrow_network_that_loses_rank_at_the_target() -> None:
    """N = 64 > width + 1: at one-hot targets D is singular, and the flow still gets there."""
    inputs, targets = digits(64, standardised=True)
    outputs = digits_map(inputs, 24)
    orbit = sr.flow(outputs, sr.SquaredLoss(targets), rtol=1e-2, keep=())
    check_digits(orbit, outputs, targets)
    assert orbit.smallest_singular_value[-1] < 1e-2 * orbit.smallest_singular_value[0]


@pytest.mark.slow
def test_raw_digits_on_a_narrow_network() -> None:
    inputs, targets = digits(40, standardised=False)
    outputs = digits_map(inputs, 20)
    orbit = sr.flow(outputs, sr.SquaredLoss(targets), rtol=1e-2, keep=())
    check_digits(orbit, outputs, targets)


@pytest.mark.parametrize("kind", ["adapted", "straight"])
def test_single_precision_follows_double_precision(kind: str) -> None:
    targets = normal(5, 2, seed=2)
    module = mlp([3, 12, 2])
    exact = sr.OutputMap(module, normal(5, 3, seed=1))
    rough = sr.OutputMap(copy.deepcopy(module).float(), normal(5, 3, seed=1))
    loss = sr.SquaredLoss(targets)
    times = [0.2, 0.6, 0.9] if kind == "straight" else [0.5, 2.0, 8.0]
    wanted = sr.flow(exact, loss, kind, time=times, rtol=1e-7)
    found = sr.flow(rough, loss, kind, time=times, rtol=1e-5)
    eps = torch.finfo(torch.float32).eps
    assert relative(found.parameters, wanted.parameters) < 1e-4
    size = np.linalg.norm(wanted.outputs.values.reshape(3, -1), axis=1)
    assert (found.tracking_error < 100 * eps * size).all()
    assert found.parameters.dtype == np.float32


def test_single_precision_converges_as_far_as_it_resolves() -> None:
    targets = normal(5, 2, seed=2)
    outputs = sr.OutputMap(mlp([3, 12, 2]).float(), normal(5, 3, seed=1))
    orbit = sr.flow(outputs, sr.SquaredLoss(targets))
    assert orbit.attrs["status"] == "converged"
    assert 1e-12 < orbit.attrs["tolerance"] / orbit.attrs["initial_loss"] < 1e-6
    # The tracking error over the distance that remains bounds the error of the loss.
    left = np.sqrt(2 * 5 * orbit.predicted_loss)
    wrong = abs(orbit.loss / orbit.predicted_loss - 1)
    assert (wrong < 3 * orbit.tracking_error / left + 1e-6).all()
    assert abs(orbit.time[-1] / orbit.attrs["stopping_time"] - 1) < 1e-6


def test_large_targets_close_to_the_outputs() -> None:
    """|x| = 10^4 |x - y|: what rounding of the outputs leaves is still on the predicted loss."""
    outputs, _, _ = small()
    with torch.no_grad():
        outputs.module[2].bias += 1e4
    outputs = sr.OutputMap(outputs.module, outputs.inputs)
    targets = outputs().numpy().reshape(5, 2) + normal(5, 2, seed=5)
    check = sr.flow(outputs, sr.SquaredLoss(targets), tolerance=1e-8)
    assert check.attrs["status"] == "converged"
    _, losses = squared_truth(outputs, targets, check.time)
    assert relative(check.loss, losses) < 1e-6


# ---------------------------------------------------------------------- times, horizon, tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_the_times_wanted_are_returned_exactly(kind: str) -> None:
    outputs, loss, _ = small()
    times = [0.1, 1 / 3, 0.7] if kind == "straight" else [0.1, 1 / 3, 7.0]
    orbit = sr.flow(outputs, loss, time=times, **options(kind))
    assert orbit.time.values.tolist() == times
    assert orbit.attrs["status"] == "horizon"
    with_start = sr.flow(outputs, loss, time=np.array([0.0, *times]), **options(kind))
    assert with_start.time.values.tolist() == [0.0, *times]
    assert abs(with_start.loss[0] / with_start.attrs["initial_loss"] - 1) < 1e-14
    assert relative(with_start.loss[1:], orbit.loss) < 1e-4
    as_array = sr.flow(outputs, loss, time=xr.DataArray(times, dims="time"), **options(kind))
    assert as_array.loss.values.tolist() == orbit.loss.values.tolist()


def test_the_straight_flow_arrives_at_time_one() -> None:
    """x(1) = y: the times wanted may run to the end of [0, 1]."""
    outputs, loss, targets = small()
    orbit = sr.flow(outputs, loss, "straight", time=np.linspace(0.0, 1.0, 6))
    assert orbit.time.values.tolist() == np.linspace(0.0, 1.0, 6).tolist()
    assert np.abs(orbit.outputs[-1] - targets).max() < 1e-11


def test_a_straight_horizon_of_one_is_reached() -> None:
    outputs, loss, _ = small()
    orbit = sr.flow(outputs, loss, "straight", time=1.0)
    assert orbit.attrs["status"] in ("horizon", "converged")
    assert abs(orbit.time[-1] - 1.0) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_a_horizon_is_where_it_ends(kind: str) -> None:
    outputs, loss, _ = small()
    orbit = sr.flow(outputs, loss, time=0.8, **options(kind))
    assert orbit.attrs["status"] == "horizon"
    assert orbit.time[0] == 0.0
    assert orbit.time[-1] == pytest.approx(0.8, rel=1e-14)
    assert len(orbit.time) > 1


@pytest.mark.parametrize("kind", ["adapted", "straight"])
def test_the_tolerance_given_is_met_from_above(kind: str) -> None:
    outputs, loss, _ = small()
    for tolerance in (0.1, 1e-5, 1e-15):
        orbit = sr.flow(outputs, loss, kind, tolerance=tolerance)
        assert orbit.attrs["status"] == "converged"
        assert orbit.attrs["tolerance"] == tolerance
        assert abs(orbit.loss[-1] / tolerance - 1) < 1e-6
        # Times are kept as t in [0, 1]: 1 - t loses digits towards the end.
        assert abs(orbit.time[-1] / orbit.attrs["stopping_time"] - 1) < 1e-9
        if kind == "straight":
            left = math.sqrt(tolerance / orbit.attrs["initial_loss"])
            assert abs((1 - orbit.attrs["stopping_time"]) / left - 1) < 1e-6


@pytest.mark.parametrize("kind", ["gradient", "interpolated"])
def test_the_stiff_flows_stop_at_the_tolerance(kind: str) -> None:
    outputs, loss, _ = small()
    orbit = sr.flow(outputs, loss, time=500.0, tolerance=1e-2, **options(kind))
    assert orbit.attrs["status"] == "converged"
    assert abs(orbit.loss[-1] / 1e-2 - 1) < 1e-5
    assert orbit.time[-1] < 500.0


@pytest.mark.parametrize("kind", KINDS)
def test_tolerance_and_times_together(kind: str) -> None:
    """Reaching the tolerance between two of the times wanted ends the orbit, and is stored."""
    outputs, loss, _ = small()
    first = 0.01
    last = 1.0 if kind == "straight" else 1000.0
    orbit = sr.flow(outputs, loss, time=[0.0, first, last], tolerance=1e-3, **options(kind))
    assert orbit.attrs["status"] == "converged"
    assert orbit.time.values[:2].tolist() == [0.0, first]
    assert abs(orbit.loss[-1] / 1e-3 - 1) < 1e-4


def test_a_tolerance_below_rounding_is_said_to_be_so() -> None:
    outputs, loss, _ = small()
    orbit = sr.flow(outputs, loss, tolerance=1e-60)
    assert orbit.attrs["status"] == "rounding"
    assert orbit.loss[-1] < 1e-26


def test_an_initial_loss_within_the_tolerance() -> None:
    outputs, loss, _ = small()
    for kind in KINDS:
        orbit = sr.flow(outputs, loss, tolerance=1e3, **options(kind))
        assert orbit.attrs["status"] == "converged"
        assert orbit.time.values.tolist() == [0.0]
        assert (orbit.final_parameters == outputs.parameters.numpy()).all()


@pytest.mark.parametrize("kind", KINDS)
def test_zero_initial_loss(kind: str) -> None:
    outputs, _, _ = small()
    loss = sr.SquaredLoss(outputs().reshape(5, 2))
    orbit = sr.flow(outputs, loss, **options(kind))
    assert orbit.attrs["status"] == "converged"
    assert orbit.loss.values.tolist() == [0.0]
    assert orbit.attrs["initial_loss"] == 0.0


# ---------------------------------------------------------------------- start, keep, callback


def test_the_start_may_be_a_vector_or_a_mapping() -> None:
    outputs, loss, _ = small()
    start = outputs.parameters + 0.1 * torch.from_numpy(normal(outputs.dimension, seed=9))
    own = copy.deepcopy(outputs.module)
    sr.OutputMap(own, outputs.inputs).load(start)
    moved = sr.OutputMap(own, outputs.inputs)
    wanted = sr.flow(moved, loss, time=1.0)
    for given in (start, start.numpy(), start.tolist(), moved.unflatten(start)):
        found = sr.flow(outputs, loss, time=1.0, start=given)
        assert (found.parameters.values == wanted.parameters.values).all()
        assert (found.loss.values == wanted.loss.values).all()


@pytest.mark.parametrize("keep", [(), ("outputs",), ("parameters", "singular_values")])
def test_what_is_kept(keep: tuple[str, ...]) -> None:
    outputs, loss, _ = small()
    whole = sr.flow(outputs, loss, tolerance=1e-3)
    orbit = sr.flow(outputs, loss, tolerance=1e-3, keep=keep)
    large = {"outputs", "parameters", "singular_values"}
    assert large & set(orbit.data_vars) == set(keep)
    assert set(orbit.data_vars) == set(whole.data_vars) - large | set(keep)
    for name in orbit.data_vars:
        assert (orbit[name].values == whole[name].values).all()


def test_what_is_measured_has_the_dimensions_of_the_design() -> None:
    outputs, loss, _ = small()
    orbit = sr.flow(outputs, loss, tolerance=1e-3)
    assert orbit.outputs.dims == ("time", "sample", "output")
    assert orbit.parameters.dims == ("time", "parameter")
    assert orbit.singular_values.dims == ("time", "singular_value")
    assert (orbit.outputs[0].values == outputs().numpy().reshape(5, 2)).all()
    for name in (
        "loss", "predicted_loss", "rank", "smallest_singular_value", "largest_singular_value",
        "path_length", "tracking_error", "parameter_error", "rank_tolerance",
    ):  # fmt: skip
        assert orbit[name].dims == ("time",)
    assert {"regime", "status", "stopping_time"} <= set(orbit.attrs)


@pytest.mark.parametrize("kind", KINDS)
def test_the_callback_sees_every_stored_point_and_may_stop(kind: str) -> None:
    outputs, loss, _ = small()
    seen: list[Any] = []
    horizon = 0.9 if kind == "straight" else 3.0
    full = sr.flow(outputs, loss, time=horizon, callback=seen.append, **options(kind))
    assert [point.time for point in seen] == full.time.values.tolist()
    assert [point.loss for point in seen] == full.loss.values.tolist()
    assert [point.path_length for point in seen] == full.path_length.values.tolist()
    for point, theta, x in zip(seen, full.parameters.values, full.outputs.values, strict=True):
        assert (point.parameters.numpy() == theta).all()
        assert (point.outputs.numpy() == x.reshape(-1)).all()
    seen.clear()
    stopped = sr.flow(
        outputs, loss, time=horizon, callback=lambda p: seen.append(p) or len(seen) == 3,
        **options(kind),
    )  # fmt: skip
    assert stopped.attrs["status"] == "stopped"
    assert len(stopped.time) == len(seen) == 3
    assert (stopped.parameters.values == full.parameters.values[:3]).all()
    assert (stopped.final_parameters.values == full.parameters.values[2]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_returns_what_was_computed(kind: str) -> None:
    outputs, loss, _ = small()
    count = 0

    def callback(_: sr.flows.OrbitPoint) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt

    horizon = 0.9 if kind == "straight" else 3.0
    full = sr.flow(outputs, loss, time=horizon, **options(kind))
    orbit = sr.flow(outputs, loss, time=horizon, callback=callback, **options(kind))
    assert orbit.attrs["status"] == "interrupted"
    assert len(orbit.time) == 3
    assert (orbit.loss.values == full.loss.values[:3]).all()
    validate(orbit)


def test_the_steps_of_an_orbit_cut_short_are_counted() -> None:
    outputs, loss, _ = small()
    for kind in KINDS:
        horizon = 0.9 if kind == "straight" else 3.0
        seen: list[Any] = []
        orbit = sr.flow(
            outputs, loss, time=horizon, callback=lambda p, s=seen: s.append(p) or len(s) == 3,
            **options(kind),
        )  # fmt: skip
        assert orbit.attrs["steps"] >= 2, kind


def test_other_errors_of_a_callback_are_the_callers() -> None:
    outputs, loss, _ = small()

    def callback(_: sr.flows.OrbitPoint) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        sr.flow(outputs, loss, callback=callback)


def test_strict_refuses_what_did_not_arrive() -> None:
    case = TRUTHS["rank_deficient"][0]
    outputs, loss = case_map(case), sr.SquaredLoss(case["labels"])
    with pytest.raises(NumericalError, match="equilibrium"):
        sr.flow(outputs, loss, strict=True)
    assert sr.flow(outputs, loss, strict=True, time=3.0).attrs["status"] == "horizon"
    outputs, loss, _ = small()
    assert sr.flow(outputs, loss, strict=True).attrs["status"] == "converged"
    with pytest.raises(NumericalError, match="stopped"):
        sr.flow(outputs, loss, strict=True, callback=lambda _: True)


# ---------------------------------------------------------------------- the dataset


@pytest.mark.parametrize("kind", KINDS)
def test_the_dataset_has_the_schema_and_survives_netcdf(kind: str, tmp_path: Path) -> None:
    outputs, loss, _ = small()
    orbit = sr.flow(
        outputs, loss, time=[0.0, 0.25, 0.5], start=outputs.unflatten(outputs.parameters),
        **options(kind),
    )  # fmt: skip
    validate(orbit)
    for name in orbit.variables:
        assert orbit[name].attrs["long_name"]
        assert orbit[name].attrs["units"] == "1"
    sr.save(orbit, tmp_path / "orbit.nc")
    again = sr.open_results(tmp_path / "orbit.nc")
    assert again.equals(orbit)
    assert set(again.attrs) == set(orbit.attrs)
    for key, value in orbit.attrs.items():
        if isinstance(value, float) and math.isnan(value):
            assert math.isnan(again.attrs[key])
        else:
            assert again.attrs[key] == value, key
            assert isinstance(again.attrs[key], bool) is isinstance(value, bool), key


def test_the_dataset_of_a_rank_loss_survives_netcdf(tmp_path: Path) -> None:
    case = TRUTHS["rank_deficient"][0]
    orbit = sr.flow(case_map(case), sr.SquaredLoss(case["labels"]))
    sr.save(orbit, tmp_path / "orbit.nc")
    again = sr.open_results(tmp_path / "orbit.nc")
    assert again.equals(orbit)
    assert again.attrs["events"] == orbit.attrs["events"]


def test_the_dataset_says_where_it_comes_from() -> None:
    outputs, loss, _ = small()
    orbit = sr.flow(outputs, loss, tolerance=1e-3, rtol=1e-5)
    assert orbit.attrs["function"] == "subriem.flow"
    assert orbit.attrs["creation_library"] == "subriem"
    assert orbit.attrs["created_at"].endswith(("Z", "+00:00"))
    assert orbit.attrs["structure"] == repr(outputs)
    arguments = orbit.attrs["arguments"]
    assert arguments["kind"] == "adapted"
    assert arguments["tolerance"] == 1e-3
    assert arguments["rtol"] == 1e-5
    assert "torch_version" in orbit.attrs


@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_are_identical_and_draw_nothing_at_random(kind: str) -> None:
    outputs, loss, _ = small()
    horizon = 0.9 if kind == "straight" else 2.0
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = sr.flow(outputs, loss, time=horizon, **options(kind))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    torch.rand(3)
    second = sr.flow(outputs, loss, time=horizon, **options(kind))
    assert first.equals(second)
    different = {k for k in first.attrs if str(first.attrs[k]) != str(second.attrs[k])}
    assert different <= {"created_at"}


@pytest.mark.parametrize("kind", KINDS)
def test_module_map_and_targets_are_left_alone(kind: str) -> None:
    outputs, loss, _ = small()
    state = copy.deepcopy(outputs.module.state_dict())
    theta, y = outputs.parameters.clone(), loss.targets.copy()
    orbit = sr.flow(outputs, loss, time=0.5, **options(kind))
    for name, value in outputs.module.state_dict().items():
        assert torch.equal(value, state[name])
    assert all(p.grad is None and p.requires_grad for p in outputs.module.parameters())
    assert torch.equal(outputs.parameters, theta)
    assert (loss.targets == y).all()
    # Nor does writing into the result reach back.
    orbit.parameters.values[:] = 0.0
    orbit.final_parameters.values[:] = 0.0
    assert torch.equal(outputs.parameters, theta)


def test_writing_into_a_result_without_a_step_does_not_reach_the_map() -> None:
    outputs, loss, _ = small()
    theta = outputs.parameters.clone()
    orbit = sr.flow(outputs, loss, tolerance=1e3)
    assert not np.shares_memory(orbit.final_parameters.values, outputs.parameters.numpy())
    assert torch.equal(outputs.parameters, theta)


def test_the_start_given_is_left_alone() -> None:
    outputs, loss, _ = small()
    start = outputs.parameters.numpy() + 0.1
    before = start.copy()
    sr.flow(outputs, loss, start=start, tolerance=1e-3)
    assert (start == before).all()


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "newton"},
        {"tau": 0.5},
        {"kind": "gradient", "tau": 0.0},
        {"kind": "interpolated"},
        {"kind": "interpolated", "tau": -1e-9},
        {"kind": "interpolated", "tau": 1 + 1e-9},
        {"kind": "interpolated", "tau": math.nan},
        {"tolerance": 0.0},
        {"tolerance": -1.0},
        {"tolerance": math.nan},
        {"tolerance": math.inf},
        {"time": 0.0},
        {"time": -1.0},
        {"time": math.nan},
        {"time": math.inf},
        {"time": []},
        {"time": [0.0]},
        {"time": [1.0, 0.5]},
        {"time": [0.0, 1.0, 1.0]},
        {"time": [-1.0, 1.0]},
        {"time": [0.0, math.nan, 1.0]},
        {"time": [[0.0, 1.0]]},
        {"kind": "straight", "time": 1.5},
        {"kind": "straight", "time": [0.5, 1.5]},
        {"rtol": 0.0},
        {"rtol": 1.0},
        {"rtol": -1e-3},
        {"rtol": math.nan},
        {"max_steps": 0},
        {"on_rank_loss": "ignore"},
        {"keep": "outputs"},
        {"keep": ("outputs", "losses")},
        {"start": np.zeros(3)},
        {"start": np.full(42, math.nan)},
        {"start": {"0.weight": np.zeros((8, 3))}},
    ],
    ids=str,
)
def test_arguments_that_cannot_be_right(bad: dict[str, Any]) -> None:
    outputs, loss, _ = small()
    with pytest.raises(InputError):
        sr.flow(outputs, loss, **bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"time": "soon"},
        {"tolerance": "small"},
        {"rtol": "small"},
        {"kind": "interpolated", "tau": "half"},
        {"start": "here"},
    ],
    ids=str,
)
def test_arguments_of_a_wrong_type(bad: dict[str, Any]) -> None:
    outputs, loss, _ = small()
    with pytest.raises(sr.SubriemError):
        sr.flow(outputs, loss, **bad)


def test_things_that_are_no_map_or_no_loss() -> None:
    outputs, loss, _ = small()
    with pytest.raises(InputTypeError, match="OutputMap"):
        sr.flow(outputs.module, loss)  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="SquaredLoss"):
        sr.flow(outputs, nn.MSELoss())  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="SquaredLoss"):
        sr.flow(outputs, sr.SquaredLoss)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(5, 3), (4, 2), (10, 1), (2, 5), (5,)])
def test_targets_of_another_shape(shape: tuple[int, ...]) -> None:
    outputs, _, _ = small()
    for kind in KINDS:
        with pytest.raises(InputError, match="was expected"):
            sr.flow(outputs, sr.SquaredLoss(np.ones(shape)), **options(kind))


def test_outputs_that_are_not_finite_at_the_start() -> None:
    outputs, loss, _ = small()
    with pytest.raises(InputError, match="NaN or Inf"):
        sr.flow(outputs, loss, start=np.full(outputs.dimension, 1e308))
