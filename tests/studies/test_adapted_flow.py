"""The main study on a small part of its grid: the paper's statements hold, and files are left."""

from pathlib import Path

import numpy as np
import pytest

import subriem as sr
from subriem.results import finished_orbits
from subriem.study import load_study

STUDY = Path(__file__).parents[2] / "studies" / "adapted_flow.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "adapted_flow.nc"
    study = load_study(STUDY)
    grid = {
        "architecture": ["tanh wide", "convolutional"],
        "kind": ["adapted", "straight", "gradient"],
        "seed": [0],
    }
    dataset = study.run(out, workers=2, grid=grid)
    study.after_function(dataset, out)
    return dataset, out


@pytest.mark.slow
def test_every_orbit_of_full_rank_obeys_the_theorem(result):
    dataset, _ = result
    assert (dataset.task_status == "ok").all()
    seen = 0
    for point, orbit in finished_orbits(dataset):
        assert orbit.regime == "full row rank"
        if point["kind"] == "gradient":
            assert orbit.loss[-1] < orbit.loss[0]
            continue
        seen += 1
        assert orbit.status == "converged"
        assert float(abs(orbit.loss / orbit.predicted_loss - 1).max()) < 1e-6
        assert float(orbit.loss[-1] / orbit.loss[0]) == pytest.approx(1e-12, rel=1e-6)
        assert float(orbit.time[-1]) == pytest.approx(orbit.stopping_time, rel=1e-9)
        if point["kind"] == "adapted":
            assert orbit.stopping_time == pytest.approx(32 * np.log(1e12), rel=1e-12)
            assert orbit.measured_rate == pytest.approx(2 / 64, rel=1e-9)
    assert seen == 4


@pytest.mark.slow
def test_a_file_a_picture_and_an_accuracy_are_left(result):
    dataset, out = result
    assert sr.open_results(out).identical(dataset)
    picture = out.with_suffix(".png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
    # Chance is 0.1; 64 images teach these networks far more than that.
    assert (dataset.test_accuracy > 0.5).all()
