"""Summaries of what networks, spheres and abnormal curves give; each number known by itself."""

import numpy as np
import pytest
import torch

import subriem as sr
from subriem.results import write_report
from subriem.results.digest_rows import rows_of
from subriem.results.report.figures import figure_data


class Screw(torch.nn.Module):
    """x = (r, z - phi) of a point in space: the lift of the second output turns it."""

    def __init__(self):
        super().__init__()
        self.point = torch.nn.Parameter(torch.tensor([1.0, 0.0, 0.0]).double())

    def forward(self, rows):
        a, b, z = self.point
        return rows @ torch.stack([torch.hypot(a, b), z - torch.atan2(b, a)])[:, None]


@pytest.fixture(scope="module")
def screw():
    return sr.OutputMap(Screw(), [[1.0, 0.0], [0.0, 1.0]])


@pytest.fixture(scope="module")
def twice():
    """One input twice, with two labels: theta_0 / 2 + theta_1 = 2 is a line of least loss."""
    return sr.OutputMap(torch.nn.Linear(1, 1).double(), [[0.5], [0.5]]), sr.SquaredLoss([1.0, 3.0])


def grushin():
    return sr.Structure.define("grushin", "x y", lambda q: [(1, 0), (0, q.x)])


def check(dataset, views, tmp_path):
    """The rows of the digest; it is short, outlives a file, and the report draws the dataset."""
    text = dataset.subriem.summary()
    assert len(text.splitlines()) <= 10
    assert max(map(len, text.splitlines())) <= 110
    again = sr.open_results(sr.save(dataset, tmp_path / "a.nc"))
    assert again.subriem.summary() == text
    assert [view["kind"] for view in figure_data(again)["results"][0]["views"]] == views
    assert write_report(again, tmp_path / "a.html").stat().st_size > 1e6
    rows = dict(rows_of(dataset))
    assert not [name for name in rows if name == "dimensions"]  # the digest of anything
    return rows


def test_holonomy(screw, tmp_path):
    found = sr.holonomy(screw, ([1.0, 0.0], [0.0, 1.0]), size=1e-3)
    rows = check(found, ["explore"], tmp_path)
    assert rows["status"].startswith("converged")
    # the parallelogram of side h encloses h^2
    assert float(rows["area enclosed"]) == pytest.approx(1e-6)
    assert rows["displacement"].endswith("an estimate")
    assert "by the curvature, to leading order" in rows["predicted"]
    assert float(rows["difference, relative"]) < 1e-2
    assert float(rows["loop closes to"]) < 1e-12


def test_horizontal_lift(screw, tmp_path):
    # straight out: the distance from the axis grows, and nothing else happens
    path = sr.horizontal_lift(screw, [[1.0, 0.0], [1.5, 0.0]], keep=("outputs",))
    rows = check(path, ["spectrum", "outputs", "explore"], tmp_path)
    assert rows["status"] == "converged; full row rank"
    assert rows["followed to"] == "1 of the curve's time [0, 1]"
    assert float(rows["path length"]) == pytest.approx(0.5)
    assert rows["rank of D"].startswith("2, decided by a tolerance; smallest singular value 1")
    assert rows["parameter error"].endswith("an estimate")


def test_equilibrium_and_critical_manifold(twice, tmp_path):
    outputs, loss = twice
    rows = check(sr.equilibrium(outputs, loss, at=[0.0, 2.0]), ["explore"], tmp_path)
    assert rows["status"].startswith("stationary; ")
    assert rows["loss"] == "0.5"
    assert rows["rank of D"].startswith("1, decided by a tolerance")
    assert rows["predicted dimension"] == "1 = K - rank"
    assert rows["nullity of the Hessian"].startswith("1, decided by a tolerance")
    assert rows["the two"] == "agree"
    rows = check(sr.equilibrium(outputs, loss, at=[0.0, 0.0]), ["explore"], tmp_path)
    assert rows["status"].startswith("not stationary; ")

    walk = sr.critical_manifold(outputs, loss, at=[0.0, 2.0], points=3, step=0.1)
    rows = check(walk, ["explore"], tmp_path)
    assert rows["status"] == "complete; 3 points beside the first"
    assert rows["stationary"] == "4 of 4"
    # a straight line
    assert float(rows["way walked"]) == pytest.approx(0.3)


def test_ball(tmp_path):
    # with p_y = 2 pi the cut time of a Grushin geodesic from the axis is 1/2
    within = sr.ball(grushin(), [0, 0], 1.0, vertical=[0, 2 * np.pi], shells=2)
    rows = check(within, ["paths", "explore"], tmp_path)
    assert rows["radius"] == "1"
    assert rows["geodesics"] == "4, each at 2 points"
    assert rows["shortest up to"] == "0.5 to 1"
    assert rows["why they stop"] == "none: 2, Maxwell: 2"
    assert rows["optimality"].startswith("an estimate")


def test_abnormal_curves(tmp_path):
    liu_sussmann = sr.models.liu_sussmann()
    rows = check(sr.abnormal(liu_sussmann, at=[0, 0, 0]), ["paths", "explore"], tmp_path)
    assert (rows["status"], rows["abnormal"], rows["strictly abnormal"]) == (
        "found",
        "corank 1",
        "yes",
    )
    assert rows["regime"] == "decided by a tolerance, 1e-08"
    # the flat Martinet line is abnormal and normal
    martinet = sr.models.martinet()
    rows = check(sr.extremal_lifts(martinet, [0, 0, 0], [0, 1]), ["explore"], tmp_path)
    assert rows["strictly abnormal"] == "no"
    assert rows["normal"].startswith("yes; residual ")
    # nothing was found, and nothing is claimed
    none = sr.abnormal(sr.models.heisenberg(), at=[0, 0, 0])
    rows = check(none, ["paths", "explore"], tmp_path)
    assert rows["status"] == "none"
    assert "strictly abnormal" not in rows
