"""What is drawn is what the orbit says."""

import matplotlib as mpl
import numpy as np
import pytest
from rich.console import Console

import subriem as sr
from subriem.errors import MissingDependencyError
from subriem.results import draw_orbits, plot_loss, plot_outputs, plot_spectrum, print_orbits

mpl.use("Agg")


@pytest.fixture(scope="module")
def orbits():
    outputs = sr.OutputMap(sr.models.multilayer_perceptron([1, 8, 2]), [[-1.0], [0.5]])
    loss = sr.SquaredLoss([[0.0, 1.0], [1.0, -1.0]])
    return {kind: sr.flow(outputs, loss, kind, rtol=1e-3) for kind in ("adapted", "gradient")}


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def test_loss_and_prediction(orbits):
    drawn = lines(plot_loss(orbits))
    for kind, orbit in orbits.items():
        np.testing.assert_array_equal(drawn[kind], np.stack([orbit.time, orbit.loss], 1))
    np.testing.assert_array_equal(drawn["predicted"][:, 1], orbits["adapted"].predicted_loss)


def test_spectrum_goes_against_the_loss(orbits):
    orbit = orbits["adapted"]
    axes = plot_spectrum(orbit)
    np.testing.assert_array_equal(lines(axes)["smallest"][:, 1], orbit.smallest_singular_value)
    np.testing.assert_allclose(lines(axes)["smallest"][:, 0], orbit.loss / orbit.loss[0])
    assert axes.xaxis_inverted()


def test_output_paths(orbits):
    axes = plot_outputs(orbits, sample=1, components=(1, 0))
    expected = orbits["adapted"].outputs.isel(sample=1, output=[1, 0])
    np.testing.assert_array_equal(lines(axes)["adapted"], expected)
    assert axes.get_ylabel() == "output 0"


def test_picture_and_table(orbits, tmp_path):
    orbit = orbits["adapted"]
    path = draw_orbits(
        tmp_path / "orbits.png", losses=orbits, spectrum=("one", orbit), outputs=("two", orbits)
    )
    assert path.stat().st_size > 10_000
    console = Console(width=200, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    print_orbits(orbits.items(), console)
    text = console.export_text()
    console.file.close()
    assert "full row rank" in text
    assert f"{orbit.stopping_time:.6g}" in text
    assert "1.000000000" in text


def test_missing_matplotlib_is_named(monkeypatch, orbits):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingDependencyError, match=r"subriem\[plot\]"):
        plot_loss(orbits)
