"""Pictures and summaries of datasets: what is drawn and said is what the dataset holds."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from matplotlib.colors import to_hex

import subriem as sr
from subriem.cli import main
from subriem.errors import InputError, MissingDependencyError
from subriem.results import build_dataset

mpl.use("Agg")

OKABE_ITO = {
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@pytest.fixture(scope="module")
def heisenberg():
    return sr.models.heisenberg()


@pytest.fixture(scope="module")
def orbit():
    outputs = sr.OutputMap(sr.models.multilayer_perceptron([1, 8, 2]), [[-1.0], [0.5]])
    loss = sr.SquaredLoss([[0.0, 1.0], [1.0, -1.0]])
    return sr.flow(outputs, loss, rtol=1e-3, tolerance=1e-6, progress=False)


@pytest.fixture(scope="module")
def fan(heisenberg):
    turn = np.linspace(0, 2 * np.pi, 9)[:-1]
    covectors = np.stack([np.cos(turn), np.sin(turn), np.full(8, 2.0)], axis=1)
    return sr.exponential(heisenberg, [0, 0, 0], covectors, np.linspace(0, 1.5, 30))


def marks(axes):
    return {one.get_label(): np.asarray(one.get_offsets()) for one in axes.collections}


# ------------------------------------------------------------------ the accessor is there


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_file_opened_in_a_fresh_process_has_it(orbit, tmp_path):
    path = sr.save(orbit, tmp_path / "orbit.nc")
    code = (
        "import sys, subriem as sr\n"
        "heavy = [m for m in ('matplotlib', 'torch', 'casadi', 'xarray') if m in sys.modules]\n"
        f"orbit = sr.open_results({str(path)!r})\n"
        "print(heavy, orbit.subriem.summary().split()[0])\n"
        "print('matplotlib' in sys.modules, 'torch' in sys.modules)\n"
    )
    assert run(code) == ["[]", "flow", "False", "False"]


def test_a_dataset_of_a_producer_has_it_in_a_fresh_process():
    code = (
        "import subriem as sr\n"
        "flag = sr.lie_flag(sr.models.heisenberg(), at=[0, 0, 0])\n"
        "print(flag.subriem.summary().split()[0])\n"
    )
    assert run(code) == ["lie_flag"]


# ------------------------------------------------------------------ loss and spectrum


def test_loss_is_drawn_with_prediction_and_stopping_time(orbit):
    axes = orbit.subriem.plot.loss()
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(lines["adapted"].get_ydata(), orbit.loss)
    np.testing.assert_array_equal(lines["predicted"].get_ydata(), orbit.predicted_loss)
    # s = N/2 ln(C_0 / eps)
    stop = np.log(float(orbit.loss[0]) / 1e-6)
    (line,) = [line for label, line in lines.items() if label.startswith("stopping time")]
    np.testing.assert_allclose(line.get_xdata(), [stop, stop], rtol=1e-12)
    assert line.get_label() in [text.get_text() for text in axes.get_legend().get_texts()]
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time s of the flow", "loss C")
    assert "adapted flow" in axes.get_title()
    assert "full row rank, converged" in axes.get_title()


def test_units_are_in_the_labels():
    orbit = build_dataset(
        {
            "loss": ("time", [4.0, 1.0], "energy", "J"),
            "predicted_loss": ("time", [np.nan, np.nan], "loss predicted", "J"),
        },
        {"time": ("time", [0.0, 1.0], "duration", "s")},
        function="flow",
    )
    axes = orbit.subriem.plot.loss()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("duration (s)", "energy (J)")
    assert len(axes.lines) == 1  # neither prediction nor stopping time


def test_a_loss_drawn_above_its_minimum_says_so(orbit):
    # what plot_loss subtracts for cross-entropy
    axes = orbit.assign_attrs(minimum_loss=1e-9).subriem.plot.loss()
    assert axes.get_ylabel() == "loss C, above its minimum 1e-09"


def test_spectrum_shades_what_counts_as_zero():
    # one input twice: two of three directions, and one singular value of zero
    network = sr.models.multilayer_perceptron([2, 8, 1])
    outputs = sr.OutputMap(network, [[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    orbit = sr.flow(outputs, sr.SquaredLoss([0.0, 1.0, 3.0]), progress=False)
    axes = orbit.subriem.plot.spectrum()
    (grey,) = axes.collections
    top = {float(y) for _, y in grey.get_paths()[0].vertices}
    assert {float(value) for value in orbit.rank_tolerance} <= top
    assert "rank of D: 2 of 3" in axes.get_title()
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "singular values of D"
    # the zero does not stretch the axis
    assert axes.get_ylim()[1] == pytest.approx(3 * float(orbit.largest_singular_value.max()))


def test_a_spectrum_that_was_not_computed_is_refused(orbit):
    nothing = orbit.assign(rank_tolerance=orbit.rank_tolerance * np.nan)
    with pytest.raises(InputError, match="too large"):
        nothing.subriem.plot.spectrum()


def test_outputs(orbit):
    axes = orbit.subriem.plot.outputs(1, (1, 0))
    expected = orbit.outputs.isel(sample=1, output=[1, 0])
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), expected)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("output 1", "output 0")
    with pytest.raises(InputError, match=r"sample \[2\].*less than 2"):
        orbit.subriem.plot.outputs(2)


# ------------------------------------------------------------------ paths


def test_a_line_a_geodesic_and_its_ends(fan):
    axes = fan.subriem.plot.paths("x", "z")
    assert len(axes.lines) == 8
    for line, path in zip(axes.lines, fan.state.sel(coordinate=["x", "z"]), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), path)
    assert {to_hex(line.get_color()) for line in axes.lines} <= OKABE_ITO
    # of one colour they differ in style
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 8
    drawn = marks(axes)
    assert set(drawn) == {"start", "end"}
    np.testing.assert_array_equal(drawn["start"], np.zeros((8, 2)))
    # |p_z| = 2, t = 1.5: arcs of circles of radius 1/2 over the angle 3, z is the area
    np.testing.assert_allclose(drawn["end"][:, 1], (3 - np.sin(3)) / 8, rtol=1e-9)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "z")
    assert axes.get_title() == "exponential: 8 paths, heisenberg"
    assert axes.get_legend().get_title().get_text() == ""


def test_paths_in_three_dimensions(fan):
    axes = fan.subriem.plot.paths("z", "y", "x")
    assert len(axes.lines) == 8
    np.testing.assert_array_equal(
        np.stack(axes.lines[3].get_data_3d(), 1), fan.state[3].sel(coordinate=["z", "y", "x"])
    )
    assert [axes.get_xlabel(), axes.get_ylabel(), axes.get_zlabel()] == ["z", "y", "x"]


def test_lines_between_few_points_are_called_straight(heisenberg):
    whole = sr.exponential(heisenberg, [0, 0, 0], [1, 0, 1], 5.0)
    axes = whole.subriem.plot.paths()
    assert len(axes.lines) == 1
    assert axes.lines[0].get_marker() == "."
    assert axes.get_legend().get_title().get_text() == "straight between 2 stored points"


def test_a_path_without_time_zero_has_no_start(heisenberg):
    late = sr.exponential(heisenberg, [0, 0, 0], [1, 0, 0], np.linspace(1, 2, 25))
    drawn = marks(late.subriem.plot.paths())
    assert set(drawn) == {"first point", "end"}
    np.testing.assert_allclose(drawn["first point"], [[1, 0]], atol=1e-12)


def test_a_path_that_ended_early_or_was_not_found_is_not_completed(fan):
    state = fan.state.copy()
    state[0, 10:] = np.nan
    state[1] = np.nan
    axes = fan.assign(state=state).subriem.plot.paths()
    drawn = marks(axes)
    np.testing.assert_array_equal(drawn["ended early"], state[0, [9], :2])
    assert len(drawn["end"]) == 6
    assert len(axes.lines) == 7
    assert "1 without points" in axes.get_title()


def test_a_path_backwards_in_time(heisenberg):
    back = sr.exponential(heisenberg, [0, 0, 0], [1, 0, 0], np.linspace(0, -1, 25))
    drawn = marks(back.subriem.plot.paths())
    np.testing.assert_array_equal(drawn["start"], [[0, 0]])
    np.testing.assert_allclose(drawn["end"], [[-1, 0]], atol=1e-12)


def test_shortest_paths_and_plans_are_drawn(heisenberg):
    path = sr.connect(heisenberg, [0, 0, 0], [1, 0, 1])
    axes = path.subriem.plot.paths()
    np.testing.assert_allclose(marks(axes)["end"], [[1, 0]], atol=1e-9)
    assert axes.get_title() == "connect, heisenberg\nshortest found"
    plan = sr.plan_motion(sr.models.unicycle(), [0, 1, 0], [0, 0, 0], times=50)
    drawn = marks(plan.subriem.plot.paths("x", "theta"))
    np.testing.assert_allclose(drawn["end"], [[0, 0]], atol=1e-9)


def test_the_given_axes_are_used(fan, orbit):
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2)
    assert fan.subriem.plot.paths(ax=left) is left
    assert orbit.subriem.plot.loss(ax=right) is right
    assert pyplot.get_fignums() == [figure.number]
    with pytest.raises(InputError, match="projection='3d'"):
        fan.subriem.plot.paths(z="z", ax=left)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("x", "w"), "no coordinate 'w': expected one of x, y, z"),
        (("x", "x"), "different coordinates, got x, x"),
    ],
)
def test_wrong_coordinates(fan, names, message):
    with pytest.raises(InputError, match=message):
        fan.subriem.plot.paths(*names)


# ------------------------------------------------------------------ fronts, maps, laws


def test_wavefront(heisenberg):
    front = sr.wavefront(heisenberg, [0, 0, 0], 1.0, vertical=np.linspace(-8, 8, 5), angles=6)
    axes = front.subriem.plot.wavefront()
    assert axes.get_zlabel() == "z"
    assert axes.get_title() == "wave front of radius 1\nheisenberg"
    assert "past a conjugate point  12 of 30" in front.subriem.summary()


def test_flag_map():
    martinet = sr.models.martinet()
    grid = np.array([-1.0, 0.0, 1.0])
    x, y = (one.ravel() for one in np.meshgrid(grid, grid))
    flag = sr.lie_flag(martinet, at=np.stack([x, y, 0 * x], axis=1))
    over = flag.assign_coords(first=("point", x), second=("point", y))
    over["first"].attrs = {"long_name": "x", "units": "m"}
    over["second"].attrs = {"long_name": "y", "units": "m"}
    over = over.set_index(point=["first", "second"]).unstack("point")
    axes = over.subriem.plot.flag_map()
    assert {axes.get_xlabel(), axes.get_ylabel()} == {"x (m)", "y (m)"}
    names = {text.get_text() for text in axes.get_legend().get_texts()}
    assert names == {"(2, 3)", "(2, 2, 3)"}
    # the singular surface is a third of the grid
    assert "(2, 3): 6, (2, 2, 3): 3" in over.subriem.summary()
    with pytest.raises(InputError, match="two dimensions"):
        flag.subriem.plot.flag_map()


def test_laws_of_a_study(tmp_path):
    study = sr.Study("drifts", {"architecture": ["linear"], "depth": [2, 3]})

    @study.task
    def task(architecture, depth):
        return build_dataset(
            {"drift": (("method", "step_size"), [[0.2, 0.02 * depth]], "drift", "1")},
            {"step_size": ("step_size", [0.1, 0.01], "step size", "1")},
            function="mine",
        )

    axes = study.run(tmp_path / "a.nc", progress=False).subriem.plot.laws()
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [0.2, 0.06])


# ------------------------------------------------------------------ what is missing


@pytest.mark.parametrize(
    ("picture", "producer"),
    [
        ("loss", "'loss', 'predicted_loss'.*conjugate_time lacks; subriem.flow makes them"),
        ("spectrum", "subriem.flow makes them"),
        ("outputs", "subriem.flow and subriem.horizontal_lift"),
        ("paths", "'state'.*subriem.exponential, subriem.connect, subriem.plan_motion"),
        ("wavefront", "subriem.wavefront and subriem.sphere make them"),
        ("flag_map", "subriem.lie_flag makes them"),
        ("laws", r"studies/conservation_laws\.py makes them"),
    ],
)
def test_what_is_missing_is_named_with_its_producer(heisenberg, picture, producer):
    times = sr.conjugate_time(heisenberg, [0, 0, 0], [1, 0, 1], horizon=7.0)
    with pytest.raises(InputError, match=producer):
        getattr(times.subriem.plot, picture)()


def test_missing_matplotlib_is_named(monkeypatch, fan):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingDependencyError, match=r"subriem\[plot\]"):
        fan.subriem.plot.paths()


# ------------------------------------------------------------------ summaries


def rows(summary):
    """Key to text, the first line without key."""
    head, *others = summary.splitlines()
    pairs = [line.partition("  ") for line in others]
    return {"": head, **{key.strip(): text.strip() for key, _, text in pairs if key.strip()}}


def summaries(heisenberg, orbit, fan):
    linear = sr.models.linear_network([3, 2, 4])
    ends = [[3, 4, 0], [0, 0, 1]]
    covectors = [[1, 0, 1], [0, 1, 2], [1, 0, 0]]
    yield "flow (adapted)", orbit, {"status": "converged; full row rank"}
    yield (
        "lie_flag",
        sr.lie_flag(heisenberg, at=[0, 0, 0]),
        {
            "growth vector": "(2, 3)",
            "homogeneous dimension": "4",
            "certified": "no",
        },
    )
    yield "exponential", fan, {"status": "ok: 8", "length at the last time": "1.5"}
    yield "connect", sr.connect(heisenberg, [0, 0, 0], [1, 0, 1]), {"length": "2.68313"}
    # straight to (3, 4, 0); 2 sqrt(pi) to (0, 0, 1)
    yield (
        "distance",
        sr.distance(heisenberg, [0, 0, 0], ends),
        {
            "status": "shortest found: 2",
            "distance": "3.54491 to 5, of the shortest paths found",
        },
    )
    yield (
        "plan_motion",
        sr.plan_motion(sr.models.unicycle(), [0, 1, 0], [0, 0, 0]),
        {"status": "reached"},
    )
    yield (
        "orbit_dimension",
        sr.orbit_dimension(linear),
        {
            "dimension": "11; codimension 3",
            "proved bounds": "11 and 11",
            "bounds meet": "yes",
        },
    )
    yield (
        "conservation_laws",
        sr.conservation_laws(linear).to_dataset(),
        {
            "laws": "3 found, 3 independent",
            "complete": "yes; codimension 3 at most",
        },
    )
    # 2 pi / |p_z|
    yield (
        "conjugate_time",
        sr.conjugate_time(heisenberg, [0, 0, 0], covectors, horizon=7.0),
        {
            "first conjugate time": "3.14159 to 6.28319 (2 of 3 known)",
            "status": "found: 2, none up to the horizon: 1",
        },
    )
    yield (
        "abnormal",
        sr.abnormal(sr.models.liu_sussmann(), at=[0, 0, 0]),
        {"strictly abnormal": "yes"},
    )


def test_summaries_are_short_and_say_what_was_found(heisenberg, orbit, fan, tmp_path):
    for head, dataset, expected in summaries(heisenberg, orbit, fan):
        text = dataset.subriem.summary()
        assert len(text.splitlines()) <= 10, text
        assert max(map(len, text.splitlines())) <= 110, text
        found = rows(text)
        assert found[""].startswith(f"{head} of "), text
        assert "subriem" in found["made"]
        assert expected.items() <= found.items(), text
        if isinstance(dataset, xr.Dataset):
            again = sr.open_results(sr.save(dataset, tmp_path / "a.nc"))
            assert again.subriem.summary() == text


def test_the_summary_of_an_orbit_has_its_numbers(orbit):
    found = rows(orbit.subriem.summary())
    stop = np.log(float(orbit.loss[0]) / 1e-6)
    assert found["stopping time"] == f"{stop:.6g}; followed to {stop:.6g}"
    assert found["loss"].endswith("to 1e-06, tolerance 1e-06")
    assert found["rank of D"].startswith("4 of 4, decided by a tolerance")


def test_a_selection_of_variables_still_has_a_summary(orbit):
    found = rows(orbit[["loss"]].subriem.summary())
    assert found["status"] == "converged"
    assert found["loss"].startswith("1e-06 to ")


def test_a_foreign_dataset_has_a_summary():
    long = xr.Dataset({f"v{k}": ("time", [1.0, np.nan, k]) for k in range(1, 30)})
    text = long.subriem.summary()
    assert len(text.splitlines()) == 10
    assert "v2          1 to 2 (2 of 3 known)" in text
    assert xr.Dataset().subriem.summary().startswith("dataset")


def test_the_summary_of_a_study_leaves_failed_tasks_out(tmp_path):
    study = sr.Study("widths", {"width": [8, 16], "seed": [0, 1]}, question="Is wide fast?")

    @study.task
    def task(width, seed):
        if (width, seed) == (16, 1):
            raise ValueError("too wide")
        return build_dataset(
            {
                "loss": ("time", np.geomspace(1.0, 10.0 ** (-width - seed), width), "loss", "1"),
                "rank": ((), width, "rank", "1"),
                "certified": ((), True, "whether it is proved", "1"),
            },
            function="flow",
            attributes={"status": f"seed {seed}"},
        )

    path = tmp_path / "widths.nc"
    combined = study.run(path, progress=False)
    text = combined.subriem.summary()
    assert len(text.splitlines()) <= 10
    found = rows(text)
    assert found["question"] == "Is wide fast?"
    assert found["grid"] == "width 2, seed 2"
    assert found["tasks"] == "ok: 3, failed: 1; by flow"
    # the shorter orbits are padded, and the failed task has none
    assert found["last loss"] == "1e-16 to 1e-08"
    assert found["rank"] == "8 to 16"
    assert found["certified"] == "3 of 3"
    assert found["status"] == "seed 0: 2, seed 1: 1"
    with pytest.raises(InputError, match="take one task with subriem"):
        combined.subriem.plot.loss()
    shown = CliRunner(env={"COLUMNS": "160"}).invoke(main, ["show", str(path)])
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith(text)
