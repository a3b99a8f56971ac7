"""The study of conservation laws on part of its grid: counts of theory, drift of first order."""

from pathlib import Path

import pytest

import subriem as sr
from subriem.results import finished_orbits
from subriem.study import load_study

STUDY = Path(__file__).parents[2] / "studies" / "conservation_laws.py"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "conservation_laws.nc"
    study = load_study(STUDY)
    grid = {"architecture": ["linear", "relu with bias"], "depth": [2]}
    dataset = study.run(out, grid=grid)
    study.after_function(dataset, out)
    return dataset, out


@pytest.fixture(scope="module")
def networks(result):
    return {point["architecture"]: network for point, network in finished_orbits(result[0])}


def test_the_counts_are_those_of_theory(networks):
    # 5 hidden units between 4 and 3: the symmetric 5 x 5 matrix U'U - VV' has rank 15 gradients
    # for a linear network; a ReLU network conserves one number a hidden unit
    for name, laws, parameters in (("linear", 15, 35), ("relu with bias", 5, 40)):
        network = networks[name]
        assert int(network["laws"]) == laws
        assert int(network["parameters"]) == parameters
        assert int(network["orbit_dimension"]) == parameters - laws
        assert bool(network["certified"])
        assert sum(text != "" for text in network["expression"].values) == laws


def test_drift_is_of_first_order_with_the_constant_of_the_theory(networks):
    for network in networks.values():
        full, stochastic = network["exponent"].values
        assert full == pytest.approx(1, abs=0.02)
        # noise adds fluctuations of order eta^(3/2)
        assert stochastic == pytest.approx(1, abs=0.15)
        slope = network["drift"].values[0, -1] / network["step_size"].values[-1]
        assert slope == pytest.approx(float(network["predicted_slope"]), rel=0.01)
        assert (network["remaining_loss"] < 1).all()


def test_the_flows_themselves_keep_the_laws(networks):
    linear = networks["linear"]
    kept = linear["flow_drift"].values
    assert (kept < 10 * float(linear["flow_tolerance"])).all()
    # far better than the finest descent
    assert kept.max() < 1e-2 * linear["drift"].values[0, -1]
    assert set(networks["relu with bias"]["flow_status"].values) == {"not followed"}


def test_the_study_leaves_a_file_and_a_picture(result):
    dataset, out = result
    assert sr.open_results(out).equals(dataset)
    assert out.with_suffix(".png").stat().st_size > 10_000
