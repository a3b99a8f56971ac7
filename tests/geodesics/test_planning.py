"""Motion planning: ends checked by another integration, exact steering, symmetries, refusals."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import subriem as sr
from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.geodesics.collocation import collocate
from subriem.geodesics.planning import find_plan, plan_motion

PI = math.pi


def driven(structure, start, path):
    """End of q' = F u, integrated anew from the coefficients in the dataset."""
    state = np.array(start, dtype=float)
    frame, fixed = structure.function(structure.frame), structure.parameter_values
    waves = np.arange(1, (path.sizes["mode"] + 1) // 2)
    for k in range(path.sizes["piece"]):
        own = path["coefficient"].values[k]
        constant, even, odd = own[:, 0], 2**0.5 * own[:, 1::2], 2**0.5 * own[:, 2::2]
        first, last = float(path.piece_start[k]), float(path.piece_end[k])

        def velocity(time, q, first=first, last=last, c=constant, a=even, b=odd):
            phase = 2 * PI * (time - first) / (last - first) * waves
            control = c + a @ np.cos(phase) + b @ np.sin(phase)
            return frame(q, fixed).full() @ control

        found = solve_ivp(
            velocity, (first, last), state, method="DOP853", rtol=1e-12, atol=1e-13, max_step=0.1
        )
        assert found.success
        state = found.y[:, -1]
    return state


def reaches(structure, start, end, tolerance=1e-9):
    path = plan_motion(structure, start, end)
    assert path.attrs["status"] == "reached", path.attrs["note"]
    missed = structure.wrap(driven(structure, start, path) - np.array(end, dtype=float))
    assert np.abs(missed).max() < tolerance
    assert float(path.endpoint_error) < 1e-9
    return path


@pytest.mark.parametrize(
    ("structure", "end"),
    [
        (sr.models.heisenberg(), [0.3, -1, 2]),
        (sr.models.engel(), [1, 1, 1, -1]),
        (sr.models.cartan(), [1, 2, -1, 0.5, 3]),
        (sr.models.chained_form(6), [1, -1, 0.5, 2, -1, 1]),
        (sr.models.free_nilpotent(3, 2), [1] * 6),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_carnot_groups_are_their_own_nilpotent_approximations(structure, end):
    path = reaches(structure, [0] * structure.dimension, end, 1e-10)
    assert path.sizes["piece"] == 1
    assert int(path.steerings) == 1
    assert float(path.nilpotent_residual[0]) < 1e-7


@pytest.mark.parametrize(
    ("structure", "start"),
    [
        (sr.models.unicycle(), [0, 1, 0]),
        (sr.models.car(), [0, 1, 0, 0]),
        (sr.models.car(), [0, 0, PI, 0]),
        (sr.models.trailers(2), [0, 1, 0, 0, 0]),
        (sr.models.trailers(2), [0, 0, PI, PI, PI]),
        (sr.models.car_with_trailers(2), [0, 1, 0, 0, 0, 0]),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_vehicles_park(structure, start):
    path = reaches(structure, start, [0] * structure.dimension)
    # the parallel ones go nowhere along the field that they lack: longer than the displacement
    assert float(path.length) > np.abs(start).max() - 1e-9
    assert structure.inside(path["state"].values).all()


@pytest.mark.parametrize(
    ("structure", "start", "end"),
    [
        (sr.models.martinet(), [0, 0, 1], [0, 0, 0]),
        (sr.models.martinet(), [0, 1, 0.3], [0, 0, 0]),
        (sr.models.grushin(), [0, 1], [0, 0]),
        (sr.models.trailers(2), [0, 0, 0, 0, 0], [0, 0.5, PI / 2, 0, 0]),
        (sr.models.trailers(2), [0, 0.5, PI / 2, 0, 0], [0, 0, 0, 0, 0]),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_singular_points_are_left_and_reached(structure, start, end):
    reaches(structure, start, end)


def test_paths_are_horizontal_and_have_their_length():
    structure = sr.models.unicycle()
    path = plan_motion(structure, [0, 1, 0], [0, 0, 0], times=4001)
    states, controls = path["state"].values, path["control"].values
    slopes = (states[2:] - states[:-2]) / (2 / 4000)
    velocity = np.einsum("tnm,tm->tn", structure.frame_at(states), controls)[1:-1]
    assert np.abs(slopes - velocity).max() < 1e-4 * np.abs(velocity).max()
    # sin(theta) x' = cos(theta) y'
    chords = np.linalg.norm(np.diff(states[:, :2], axis=0), axis=1)
    length = np.hypot(chords, np.diff(states[:, 2])).sum()
    assert float(path.length) == pytest.approx(length, rel=1e-5)


def test_a_heisenberg_plan_is_nearly_the_geodesic():
    path = plan_motion(sr.models.heisenberg(), [0, 0, 0], [0, 0, 1])
    # d = 2 sqrt(pi |z|); sinusoids hold the circle
    assert float(path.length) >= 2 * math.sqrt(PI) - 1e-9
    assert float(path.length) < 1.01 * 2 * math.sqrt(PI)


def test_left_translations_of_the_plane_carry_plans_along():
    structure = sr.models.unicycle()
    turn, shift = 0.7, np.array([2.0, -1.0])
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])

    def moved(q):
        return np.append(matrix @ q[:2] + shift, q[2] + turn)

    start, end = np.array([0.2, 1.0, 0.3]), np.zeros(3)
    here = plan_motion(structure, start, end)
    there = plan_motion(structure, moved(start), moved(end))
    carried = np.array([moved(q) for q in here["state"].values])
    np.testing.assert_allclose(there["state"].values, carried, atol=1e-6)


def test_units_of_the_coordinates_do_not_matter():
    cart = sr.models.heisenberg()
    other = cart.change_coordinates(
        "x y z",
        lambda q: [1000 * q.x, 1000 * q.y, 1e6 * q.z],
        lambda q: [q.x / 1000, q.y / 1000, q.z / 1e6],
    )
    one = plan_motion(cart, [0, 0, 0], [1, 0.5, 1])
    two = plan_motion(other, [0, 0, 0], [1000, 500, 1e6])
    np.testing.assert_allclose(
        two["state"].values, one["state"].values * [1e3, 1e3, 1e6], rtol=1e-6, atol=1e-3
    )


def test_an_end_a_period_away_is_the_nearest():
    path = plan_motion(sr.models.unicycle(), [0, 0, 0], [0, 0, 2 * PI - 0.5])
    assert path["state"].values[-1, 2] == pytest.approx(-0.5)


def test_the_inner_product_gives_the_length():
    def weighted(weight):
        return sr.Structure.define(
            "weighted",
            "x y z",
            lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)],
            inner_product=lambda q: [[weight, 0], [0, weight]],
        )

    one, four = (plan_motion(weighted(w), [0, 0, 0], [1, 0, 1]) for w in (1.0, 4.0))
    assert float(four.length) == pytest.approx(2 * float(one.length), rel=1e-6)


def test_the_start_is_the_end():
    structure = sr.models.unicycle()
    path = plan_motion(structure, [1, 2, 0.5], [1, 2, 0.5])
    assert path.attrs["status"] == "same point"
    assert float(path.length) == 0
    assert (path["state"].values == [1, 2, 0.5]).all()
    assert not path["control"].values.any()


def test_what_cannot_be_reached_has_a_status():
    leaves = sr.Structure.define("leaves", "x y z", lambda q: [(1, 0, 0), (0, 1, 0)])
    path = plan_motion(leaves, [0, 0, 0], [1, 0, 1])
    assert path.attrs["status"] == "unreachable"
    assert np.isnan(path.length)
    assert np.isnan(path["state"]).all()
    assert plan_motion(leaves, [0, 0, 0], [1, 0, 0]).attrs["status"] == "not bracket-generating"
    with pytest.raises(NumericalError, match="unreachable"):
        plan_motion(leaves, [0, 0, 0], [1, 0, 1], strict=True)


def test_a_plan_starts_the_direct_method():
    structure = sr.models.unicycle()
    start, end = np.array([0, 1.0, 0]), np.zeros(3)
    plan, status, _, _ = find_plan(structure, start, end)
    assert status == "reached"
    curve = plan.curve()
    np.testing.assert_allclose(curve(np.array([0.0, 1.0])), [start, end], atol=1e-9)
    np.testing.assert_allclose(
        curve(np.linspace(0, 1, 37)), plan.at(np.linspace(0, 1, 37))[0], atol=1e-6
    )
    found = collocate(structure, start, end[None], starts=0, guesses=[curve])
    assert found is not None
    assert found.starts == 1
    assert found.length < plan.length


def test_bad_input():
    unicycle = sr.models.unicycle()
    with pytest.raises(InputTypeError):
        plan_motion("unicycle", [0, 0, 0], [1, 0, 0])
    with pytest.raises(InputError, match="one point"):
        plan_motion(unicycle, [[0, 0, 0]], [1, 0, 0])
    with pytest.raises(InputError, match="times"):
        plan_motion(unicycle, [0, 0, 0], [1, 0, 0], times=1)
    with pytest.raises(InputError):
        plan_motion(sr.models.car(), [0, 0, 0, 2], [0, 0, 0, 0])
    drifting = sr.Structure.define("d", "x y", lambda q: [(1, 0)], drift=lambda q: (0, q.x))
    with pytest.raises(InputError, match="drift"):
        plan_motion(drifting, [0, 0], [1, 0])
