import numpy as np
import pytest
from by_hand import circle, drifting

import subriem as sr
from subriem.errors import InputError, InputTypeError
from subriem.results import build_dataset
from subriem.testing import assert_horizontal

HEISENBERG = sr.models.heisenberg()


def dataset(times, states, controls=None, dims=("time",), extra=None):
    variables = {"state": ((*dims, "coordinate"), states, "state", "1")}
    if controls is not None:
        variables["control"] = ((*dims, "field"), controls, "control", "1")
    coordinates = {
        "time": ("time", times, "time", "1"),
        "coordinate": ("coordinate", list("xyz"), "coordinate of the state space", "1"),
    }
    return build_dataset(variables, {**coordinates, **(extra or {})}, function="test")


def steering(t):
    return np.stack([-np.sin(t), np.cos(t)], axis=1)


@pytest.mark.parametrize("samples", [30, 31, 100, 1000])
def test_the_lift_of_a_circle_is_horizontal(samples):
    t, states = circle(samples)
    assert_horizontal((t, states), HEISENBERG)
    assert_horizontal(dataset(t, states), HEISENBERG)
    if samples > 40:
        assert_horizontal(dataset(t, states, steering(t)), HEISENBERG)


def said(path):
    """The first line of the failure, empty where there is none."""
    try:
        assert_horizontal(path, HEISENBERG)
    except AssertionError as error:
        return str(error).splitlines()[0]
    return ""


@pytest.mark.parametrize("samples", range(12, 80))
def test_a_horizontal_path_is_at_worst_too_coarse(samples):
    t, states = circle(samples, turns=3.0)
    for path in (dataset(t, states), dataset(t, states, steering(t))):
        # twenty samples a turn are enough
        assert said(path) == "" or ("too coarse to tell" in said(path) and samples < 60)


@pytest.mark.parametrize("angle", [1e-5, 1e-3, 0.1])
def test_a_path_that_leaves_the_distribution_fails_with_the_angle(angle):
    t, states = circle(300)
    # z' off by a constant: the angle is that of the normal component, up to second order
    states[:, 2] += angle * t
    with pytest.raises(AssertionError, match="the path is not horizontal at time") as caught:
        assert_horizontal((t, states), HEISENBERG)
    message = str(caught.value)
    told = float(message.split("an angle of ")[1].split(" rad")[0])
    # the distribution is inclined by at most |(x, y)| / 2, units are at most 2
    assert angle / 3 < told < 3 * angle
    assert "most of it along z" in message
    assert "x=" in message
    with pytest.raises(AssertionError, match="does not follow its controls between times"):
        assert_horizontal(dataset(t, states, steering(t)), HEISENBERG)


def test_what_is_below_the_tolerance_passes():
    t, states = circle(1000)
    states[:, 2] += 1e-8 * t
    assert_horizontal((t, states), HEISENBERG)
    with pytest.raises(AssertionError, match="is not horizontal"):
        assert_horizontal((t, states), HEISENBERG, rtol=1e-9)


def test_a_jump_that_is_one_sample_long_is_seen():
    t, states = circle(500)
    states[250:, 2] += 1e-5
    with pytest.raises(AssertionError, match=r"not follow its controls between times 3\.1"):
        assert_horizontal(dataset(t, states, steering(t)), HEISENBERG)


def test_noise_of_an_integrator_is_no_departure():
    t, states = circle(200)
    for seed in range(20):
        noise = 1e-9 * np.random.default_rng(seed).standard_normal(states.shape)
        assert_horizontal((t, states + noise), HEISENBERG)


def test_a_corner_is_let_pass_and_too_many_are_not():
    def square(samples):
        t = np.linspace(0, 4, samples)
        x = np.clip(t, 0, 1) - np.clip(t - 2, 0, 1)
        y = np.clip(t - 1, 0, 1) - np.clip(t - 3, 0, 1)
        # area from the origin: only the sides x = 1 and y = 1 sweep any
        z = (np.clip(t - 1, 0, 1) + np.clip(t - 2, 0, 1)) / 2
        return t, np.stack([x, y, z], axis=1)

    assert_horizontal(square(4001), HEISENBERG)
    with pytest.raises(AssertionError, match="expected more samples, or fewer corners"):
        assert_horizontal(square(41), HEISENBERG)


def test_units_do_not_matter():
    units = np.array([1e6, 1e-6, 1.0])
    scaled = sr.Structure.define(
        "scaled",
        "x y z",
        lambda q: [(1e6, 0, -q.y * 1e6 / 2), (0, 1e-6, q.x * 1e-6 / 2)],
    )
    t, states = circle(200)
    assert_horizontal((t, states * units), scaled)
    states[:, 2] += 1e-4 * t
    with pytest.raises(AssertionError, match="along z"):
        assert_horizontal((t, states * units), scaled)


def test_angles_may_be_wrapped():
    t = np.linspace(0, 3 * np.pi, 200)
    states = np.stack([np.sin(t), 1 - np.cos(t), np.angle(np.exp(1j * t))], axis=1)
    assert_horizontal((t, states), sr.models.unicycle())
    sideways = states + np.stack([0 * t, 1e-3 * t, 0 * t], axis=1)
    with pytest.raises(AssertionError, match="is not horizontal"):
        assert_horizontal((t, sideways), sr.models.unicycle())


def test_a_drift_is_part_of_the_motion():
    t = np.linspace(0, 5, 200)
    free = np.stack([np.cos(t), -np.sin(t)], axis=1)
    # pushed by u = -3 x': x = cos(2 t) has v' = -x - 3 x
    pushed = np.stack([np.cos(2 * t), -2 * np.sin(2 * t)], axis=1)
    for states in (free, pushed):
        assert_horizontal((t, states), drifting())
    with pytest.raises(AssertionError, match="along x"):
        assert_horizontal((t, free * [1, 1.01]), drifting())


def test_each_path_of_a_dataset_is_checked_and_named():
    t, states = circle(100)
    bent = states + np.stack([0 * t, 0 * t, 1e-3 * t], axis=1)
    both = np.stack([states, states, bent])
    index = {"geodesic": ("geodesic", [0, 1, 2], "geodesic", "1")}
    path = dataset(t, both, dims=("geodesic", "time"), extra=index)
    with pytest.raises(AssertionError, match="geodesic 2 is not horizontal"):
        assert_horizontal(path, HEISENBERG)
    assert_horizontal(path.isel(geodesic=[0, 1]), HEISENBERG)
    # reordered coordinates are the same path
    assert_horizontal(path.isel(geodesic=0, coordinate=[2, 0, 1]), HEISENBERG)


def test_missing_samples_at_the_end_are_left_out():
    t, states = circle(100)
    states[60:] = np.nan
    assert_horizontal((t, states), HEISENBERG)
    states[80:] = 0
    with pytest.raises(InputError, match="sample 60 is not finite and later ones are"):
        assert_horizontal((t, states), HEISENBERG)


def test_a_path_at_rest_is_horizontal():
    assert_horizontal((np.linspace(0, 1, 20), np.ones((20, 3))), HEISENBERG)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ((np.arange(5.0), np.zeros((5, 3))), InputError, "at least 12 samples, got 5"),
        ((np.arange(20.0), np.zeros((20, 2))), InputError, r"states of shape \(T, 3\)"),
        ((np.zeros(20), np.zeros((20, 3))), InputError, "times do not increase at 0"),
        ([1, 2], InputTypeError, "a Dataset or"),
    ],
)
def test_what_is_no_path_is_refused(path, error, message):
    with pytest.raises(error, match=message):
        assert_horizontal(path, HEISENBERG)


def test_controls_and_coordinates_must_fit():
    t, states = circle(50)
    with pytest.raises(InputError, match=r"controls of shape \(50, 2\)"):
        assert_horizontal(dataset(t, states, np.ones((50, 3))), HEISENBERG)
    with pytest.raises(InputError, match="expected the coordinates x, y, theta"):
        assert_horizontal(dataset(t, states), sr.models.unicycle())
    with pytest.raises(InputError, match="rtol"):
        assert_horizontal((t, states), HEISENBERG, rtol=0)
