"""Rank lost on the way: where, how it is told, and how the flow goes on."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
import xarray as xr
from flow_cases import formula_map
from scipy.integrate import solve_ivp

import subriem as sr


def fold(count: int = 1) -> sr.OutputMap:
    """x = (theta_1^2/2, theta_2, ...): rank is lost where x_1 = 0."""
    return formula_map([1.0] * count, lambda p: torch.cat([p[:1] ** 2 / 2, p[1:]]), count)


@functools.cache
def torn(kind: str = "adapted") -> xr.Dataset:
    return sr.flow(fold(2), sr.SquaredLoss([[-1.0], [3.0]]), kind)


@pytest.mark.slow
def test_the_fold_by_hand_with_stop() -> None:
    """N = 1, x_0 = 1/2, y = -1: x* = 0 at e^{-s} = 2/3."""
    orbit = sr.flow(fold(), sr.SquaredLoss([-1.0]), on_rank_loss="stop")
    assert orbit.attrs["status"] == "rank_lost"
    assert orbit.attrs["regime"] == "full row rank"
    (event,) = orbit.attrs["events"]
    assert abs(event["time"] - math.log(1.5)) < 1e-6
    assert event["rank"] == 0
    assert event["lost_directions"] == 1
    assert event["largest_lost"] < 1e-4
    assert (event["heaviest_sample"], event["heaviest_output"]) == (0, 0)
    assert abs(orbit.time[-1] - math.log(1.5)) < 1e-6
    # Until then the loss is the predicted one.
    assert (abs(orbit.loss / (1.125 * np.exp(-2 * orbit.time)) - 1) < 1e-6).all()
    theta = np.sqrt(2 * np.maximum(-1 + 1.5 * np.exp(-orbit.time), 0.0))
    assert (abs(orbit.parameters[:, 0] - theta) < 1e-4).all()
    # What was said in advance does not hold, and the status says so.
    assert abs(orbit.attrs["stopping_time"] - 0.5 * math.log(1e12)) < 1e-9


def test_the_fold_by_hand_with_project() -> None:
    """D = 0 at the fold: the projected flow is at rest there, with C = 1/2."""
    orbit = sr.flow(fold(), sr.SquaredLoss([-1.0]))
    assert orbit.attrs["status"] == "equilibrium"
    assert abs(orbit.attrs["events"][0]["time"] - math.log(1.5)) < 1e-6
    assert abs(orbit.loss[-1] - 0.5) < 1e-6
    assert abs(orbit.final_parameters[0]) < 1e-3
    assert orbit["rank"][0] == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adapted", "straight"])
def test_what_is_not_lost_goes_on(kind: str) -> None:
    """The second output is not touched by the loss of the first and reaches its target."""
    orbit = torn(kind)
    when = 2 * math.log(1.5) if kind == "adapted" else 1 / 3
    (event,) = orbit.attrs["events"]
    assert abs(event["time"] - when) < 1e-6
    assert event["rank"] == 1
    assert abs(event["smallest_kept"] - 1.0) < 1e-9
    assert (event["heaviest_sample"], event["lost_directions"]) == (0, 1)
    assert np.abs(np.abs(orbit.lost_directions.values.reshape(-1)) - [1.0, 0.0]).max() < 1e-6
    assert orbit.attrs["status"] == "equilibrium"
    assert abs(orbit.final_parameters[1] - 3.0) < 1e-6
    assert abs(orbit.loss[-1] - 0.25) < 1e-6
    # After the loss the second output still follows its own formula.
    after = orbit.time > when
    decay = np.exp(-orbit.time / 2) if kind == "adapted" else 1 - orbit.time
    assert int(after.sum()) > 3
    assert (abs(orbit.outputs[:, 1, 0] - (3 - 2 * decay)) < 1e-5).all()
    assert np.isnan(orbit.predicted_loss[-1])
    assert (np.diff(orbit.path_length) >= 0).all()
    assert abs(orbit.path_length[-1] - orbit.path_length[0] - math.sqrt(1 + 4)) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adapted", "straight"])
def test_the_times_wanted_on_both_sides_of_the_loss(kind: str) -> None:
    times = [0.1, 0.2, 0.6] if kind == "straight" else [0.4, 0.7, 1.2, 5.0]
    orbit = sr.flow(fold(2), sr.SquaredLoss([[-1.0], [3.0]]), kind, time=times)
    assert orbit.time.values.tolist() == times
    assert orbit.attrs["status"] == "horizon"
    decay = 1 - orbit.time if kind == "straight" else np.exp(-orbit.time / 2)
    assert (abs(orbit.outputs[:, 1, 0] - (3 - 2 * decay)) < 1e-5).all()
    first = np.maximum(-1 + 1.5 * decay, 0.0)
    assert (abs(orbit.outputs[:, 0, 0] - first) < 1e-5).all()


@pytest.mark.slow
def test_rank_lost_by_an_under_parametrized_map() -> None:
    """x = (theta^2/2, 0) in R^2: one of one directions is lost at e^{-s/2} = 2/3."""
    outputs = formula_map([1.0], lambda p: torch.cat([p**2 / 2, 0 * p]), 2)
    orbit = sr.flow(outputs, sr.SquaredLoss([[-1.0], [1.0]]))
    assert orbit.attrs["regime"] == "under-parametrized"
    assert orbit.attrs["status"] == "equilibrium"
    assert abs(orbit.loss[-1] - 0.5) < 1e-6
    event = orbit.attrs["events"][-1]
    assert abs(event["time"] - 2 * math.log(1.5)) < 1e-5
    assert event["rank"] == 0
    stopped = sr.flow(outputs, sr.SquaredLoss([[-1.0], [1.0]]), on_rank_loss="stop")
    assert stopped.attrs["status"] == "rank_lost"
    assert abs(stopped.time[-1] - 2 * math.log(1.5)) < 1e-5


@pytest.mark.slow
def test_two_losses_one_after_the_other() -> None:
    """x = (a^2/2, b^2/2, c): lost at e^{-s/3} = 2/3 and 2.5/3."""
    outputs = formula_map(
        [1.0, 1.0, 1.0], lambda p: torch.stack([p[0] ** 2 / 2, p[1] ** 2 / 2, p[2]]), 3
    )
    orbit = sr.flow(outputs, sr.SquaredLoss([[-1.0], [-2.5], [2.0]]))
    times = [event["time"] for event in orbit.attrs["events"]]
    assert len(times) == 2
    assert abs(times[0] - 3 * math.log(3 / 2.5)) < 1e-6
    # On the projected flow a loss is met at a threshold of the singular value, not located.
    assert abs(times[1] - 3 * math.log(1.5)) < 1e-4
    assert [event["rank"] for event in orbit.attrs["events"]] == [2, 1]
    assert [event["heaviest_sample"] for event in orbit.attrs["events"]] == [1, 0]
    assert orbit.attrs["status"] == "equilibrium"
    assert abs(orbit.final_parameters[2] - 2.0) < 1e-6
    assert abs(orbit.loss[-1] - (1 + 6.25) / 6) < 1e-5


def test_a_map_into_a_bounded_set_never_reaches_a_target_outside() -> None:
    """x = tanh(theta), y = 2: D -> 0 as x -> 1; whatever the status, no claim of convergence."""
    outputs = formula_map([0.0], torch.tanh, 1)
    orbit = sr.flow(outputs, sr.SquaredLoss([2.0]))
    assert orbit.attrs["status"] in ("rank_lost", "equilibrium", "collapsed")
    # x = 2 - 2 e^{-s} is 1 at s = ln 2, with theta at infinity.
    assert abs(orbit.time[-1] - math.log(2)) < 1e-2 or orbit.attrs["status"] == "equilibrium"
    assert 0.5 <= orbit.loss[-1] < 0.51
    assert (abs(orbit.loss - 2 * np.exp(-2 * orbit.time)) < 1e-5).values[orbit.time < 0.69].all()


def test_an_inflection_is_passed_or_told() -> None:
    """x = theta^3/3 through zero: D vanishes at one point only, and x(s) goes through it."""
    outputs = formula_map([1.0], lambda p: p**3 / 3, 1)
    orbit = sr.flow(outputs, sr.SquaredLoss([-1.0]))
    if orbit.attrs["status"] == "converged":
        assert abs(orbit.final_parameters[0] + 3 ** (1 / 3)) < 1e-5
    else:
        (event,) = orbit.attrs["events"]
        assert abs(event["time"] - math.log(4 / 3)) < 1e-3
        assert abs(orbit.final_parameters[0]) < 1e-2


def test_a_small_singular_value_is_no_loss() -> None:
    """A badly scaled, linear map of full rank: condition 1e12 of D D', and no event."""
    scales = torch.tensor([1.0, 1e-6], dtype=torch.float64)
    outputs = formula_map([1.0, 1.0], lambda p: scales * p, 2)
    targets = np.array([[0.0], [1e-6 * 3]])
    orbit = sr.flow(outputs, sr.SquaredLoss(targets))
    assert orbit.attrs["status"] == "converged"
    assert orbit.attrs["regime"] == "full row rank"
    assert orbit.attrs["events"] == []
    assert (orbit["rank"] == 2).all()
    assert abs(orbit.smallest_singular_value[-1] / 1e-6 - 1) < 1e-6


@pytest.mark.slow
def test_the_event_is_the_same_in_other_units() -> None:
    """Scaling the outputs and targets by 1e6 scales the losses and moves no event."""
    plain = torn()
    scaled = formula_map([1.0, 1.0], lambda p: 1e6 * torch.stack([p[0] ** 2 / 2, p[1]]), 2)
    large = sr.flow(scaled, sr.SquaredLoss([[-1e6], [3e6]]))
    assert large.attrs["status"] == plain.attrs["status"]
    assert abs(large.attrs["events"][0]["time"] - plain.attrs["events"][0]["time"]) < 1e-6
    assert abs(large.loss[-1] / plain.loss[-1] - 1e12) < 1e12 * 1e-6


def test_strict_turns_the_loss_into_an_error() -> None:
    with pytest.raises(sr.errors.NumericalError, match="rank_lost"):
        sr.flow(fold(), sr.SquaredLoss([-1.0]), on_rank_loss="stop", strict=True)


@pytest.mark.slow
def test_cross_entropy_across_a_fold() -> None:
    """Two logits of one sample, the first bounded below by a fold: rank is lost, and told."""
    outputs = sr.OutputMap(_TwoLogits(), np.ones((1, 1)))
    loss = sr.CrossEntropyLoss([[0.02, 0.98]])
    orbit = sr.flow(outputs, loss)
    assert orbit.attrs["events"]
    event = orbit.attrs["events"][0]

    # Until the event the first logit falls and the sum is kept: 1/2 to 0 against 1 to 3/2.
    def field(_: float, z: np.ndarray) -> np.ndarray:
        p = np.exp(z - z.max())
        return -(p / p.sum() - [0.02, 0.98])

    def crossing(_: float, z: np.ndarray) -> float:
        return float(z[0])

    crossing.terminal = True  # type: ignore[attr-defined]
    found = solve_ivp(field, (0, 100), [0.5, 1.0], events=crossing, rtol=1e-12, atol=1e-13)
    assert abs(event["time"] - found.t[-1]) < 1e-5
    # Then the second logit alone takes the labels' odds: the minimum is reached nevertheless.
    assert orbit.attrs["status"] in ("equilibrium", "converged")
    assert abs(orbit.outputs[-1, 0, 1] - math.log(49.0)) < 1e-4


class _TwoLogits(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * torch.stack([self.theta[0] ** 2 / 2, self.theta[1]])[None]
