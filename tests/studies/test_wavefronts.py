"""The study of wave fronts: heights known in closed form, a file and a picture."""

import math
from pathlib import Path

import numpy as np
import pytest

from subriem.results import finished_orbits
from subriem.study import load_study

STUDY = Path(__file__).parents[2] / "studies" / "wavefronts.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "wavefronts.nc"
    study = load_study(STUDY)
    dataset = study.run(out, grid={"system": ["heisenberg", "unicycle"], "radius": [1.0]})
    study.after_function(dataset, out)
    return dataset, out


def test_heights_of_the_fronts(result):
    dataset, _ = result
    fronts = {point["system"]: front for point, front in finished_orbits(dataset)}
    # half the isoperimetric area above a diameter: r^2 / (2 pi), at p_z = +-pi
    heisenberg = np.abs(fronts["heisenberg"]["state"].isel(coordinate=2))
    assert float(heisenberg.max()) == pytest.approx(1 / (2 * math.pi), rel=1e-3)
    assert float(heisenberg.max()) <= 1 / (2 * math.pi) + 1e-9
    # turning on the spot
    assert float(fronts["unicycle"]["state"].isel(coordinate=2).max()) == pytest.approx(1, rel=1e-9)


def test_the_heisenberg_front_is_past_conjugate_points_beyond_two_pi(result):
    dataset, _ = result
    (front,) = (f for point, f in finished_orbits(dataset) if point["system"] == "heisenberg")
    vertical = np.abs(front["momentum"].squeeze("bracket").values)
    past = front["past_conjugate"].transpose("direction", "vertical").values.astype(bool)
    clear = np.abs(vertical - 2 * math.pi) > 0.3
    np.testing.assert_array_equal(past.all(axis=0)[clear], (vertical > 2 * math.pi)[clear])
    np.testing.assert_array_equal(past.any(axis=0)[clear], (vertical > 2 * math.pi)[clear])


def test_the_cut_points_of_the_heisenberg_sphere_lie_on_the_axis(result):
    dataset, _ = result
    (front,) = (f for point, f in finished_orbits(dataset) if point["system"] == "heisenberg")
    states = front["cut_state"].transpose("cut", "coordinate").values
    states = states[np.isfinite(states).all(axis=1)]
    # a full circle of circumference 1 encloses 1 / (4 pi)
    assert len(states) == 16  # eight directions, up and down
    np.testing.assert_allclose(states[:, :2], 0, atol=1e-8)
    np.testing.assert_allclose(np.abs(states[:, 2]), 1 / (4 * math.pi), rtol=1e-8)


def test_the_study_leaves_a_picture(result):
    _, out = result
    assert out.with_suffix(".png").stat().st_size > 10_000
