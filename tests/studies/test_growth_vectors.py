"""The study of trailers on part of its grid: singular lines are where theory puts them."""

from pathlib import Path

import numpy as np
import pytest

import subriem as sr
from subriem.results import finished_orbits
from subriem.study import load_study

STUDY = Path(__file__).parents[2] / "studies" / "growth_vectors.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "growth_vectors.nc"
    study = load_study(STUDY)
    dataset = study.run(out, grid={"system": ["2 trailers"]})
    study.after_function(dataset, out)
    return dataset, out


def test_two_trailers_are_singular_where_the_first_stands_at_a_right_angle(result):
    dataset, _ = result
    ((_, flag),) = list(finished_orbits(dataset))
    right = np.isclose(np.abs(flag["first"]), np.pi / 2)
    degree = flag["degree_of_nonholonomy"].transpose("first", "second").values
    assert right.sum() == 2
    assert (degree[right] == 5).all()
    assert (degree[~right] == 4).all()
    vectors = flag["growth_vector"].transpose("first", "second", "step").values
    assert (vectors[right] == [2, 3, 4, 4, 5]).all()


def test_the_study_leaves_a_file_and_a_picture(result):
    dataset, out = result
    assert sr.open_results(out).equals(dataset)
    assert out.with_suffix(".png").stat().st_size > 10_000
