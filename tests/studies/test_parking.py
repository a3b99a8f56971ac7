"""The study of parking: paths that arrive and keep clear, by geometry of another kind."""

from pathlib import Path

import numpy as np
import pytest

from subriem.errors import InputError
from subriem.results import finished_orbits
from subriem.results.parking import body_corners, plot_parking
from subriem.study import load_study

STUDY = Path(__file__).parents[2] / "studies" / "parking.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "parking.nc"
    study = load_study(STUDY)
    dataset = study.run(out, grid={"vehicle": ["unicycle", "car"], "manoeuvre": ["parallel"]})
    study.after_function(dataset, out)
    return dataset, out


def test_vehicles_arrive_and_the_direct_method_shortens(result):
    dataset, _ = result
    found = list(finished_orbits(dataset))
    assert len(found) == 2
    for point, parking in found:
        assert parking.attrs["status"] == "reached"
        plan, short = parking["length"].sel(path=["plan", "direct"]).values
        gap = parking["clearance"].values[0]
        # only a plan that touches an obstacle, of which it does not know, may be shorter
        assert short <= plan * (1 + 1e-9) or gap < 0
        assert plan / 2 < short < 1.1 * plan
        assert (parking["endpoint_error"].values < 1e-10).all()
        if point["vehicle"] == "car":
            assert parking["steering"].values[1] <= 1
        np.testing.assert_allclose(parking["pose"].values[:, -1, 0], 0, atol=1e-5)


def test_shortened_paths_touch_nothing(result):
    dataset, _ = result
    for _, parking in finished_orbits(dataset):
        corners = body_corners(parking["pose"].values[1], parking["extent"].values)
        # points all over the bodies, none of which lies in a parked car
        u, v = (grid.ravel()[:, None] for grid in np.meshgrid(*[np.linspace(0, 1, 15)] * 2))
        a, b, c, d = (corners[:, :, None, k] for k in range(4))
        points = (1 - u) * (1 - v) * a + u * (1 - v) * b + u * v * c + (1 - u) * v * d
        for x, y, length, width in parking["parked"].values:
            inside = (np.abs(points[..., 0] - x) < length) & (np.abs(points[..., 1] - y) < width)
            assert not inside.any()
        assert (points[..., 1] > parking["kerb"].values[0]).all()
        assert parking["clearance"].values[1] > 0


def test_the_study_leaves_a_picture(result):
    _, out = result
    assert out.with_suffix(".png").stat().st_size > 10_000


def test_corners_of_a_turned_body():
    corners = body_corners(np.array([1.0, 2.0, np.pi / 2]), np.array([1.0, 3.0, 0.5]))
    np.testing.assert_allclose(corners, [[1.5, 1], [1.5, 5], [0.5, 5], [0.5, 1]], atol=1e-12)


def test_a_picture_needs_a_path(result):
    dataset, _ = result
    parking = next(parking for _, parking in finished_orbits(dataset))
    with pytest.raises(InputError, match="none was found"):
        plot_parking(parking.assign(pose=parking["pose"] * np.nan))
