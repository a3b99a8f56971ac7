import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from subriem.errors import InputError
from subriem.results import (
    build_dataset,
    combine_tasks,
    find_conflicts,
    open_results,
    provenance,
    save,
    select_task,
    validate,
)

STUDY = provenance("Study.run", seed=0)


def orbit(steps, **attributes):
    """An orbit with a length of its own along three dimensions."""
    times = np.linspace(0.0, 1.0, steps)
    return build_dataset(
        {
            "loss": ("time", np.exp(-times), "loss", "1"),
            "rank": ("time", np.arange(steps), "rank", "1"),
            "spectrum": (("time", "singular_value"), np.ones((steps, steps + 1)), "s", "1"),
            "lost": ("time", times > 0.5, "whether rank is lost", "1"),
            "note": ("time", [f"step {k}" for k in range(steps)], "note", "1"),
            "field": ("time", times + 1j, "field", "1"),
            "single": ("time", times.astype("f4"), "in float32", "1"),
            "count": ("time", np.arange(steps, dtype="u1"), "count", "1"),
            "regime": ((), "full rank", "regime", "1"),
        },
        {
            "time": ("time", times, "time of the flow", "1"),
            "sample": ("sample", np.arange(steps), "sample", "1"),
            "label": ("sample", [f"digit {k}" for k in range(steps)], "label of it", "1"),
            "weight": ("sample", np.full(steps, 1.0 / steps), "weight", "1"),
            "tau": ((), 0.5, "tau", "1"),
        },
        function="flow",
        arguments={"steps": steps},
        seed=steps,
        attributes=attributes,
    )


def assert_same(back, dataset):
    assert back.identical(dataset)
    assert list(back.coords) == list(dataset.coords)
    assert list(back.attrs.items()) == list(dataset.attrs.items())
    for name, variable in dataset.variables.items():
        assert back[name].dtype == variable.dtype
    for name, value in dataset.attrs.items():
        assert type(back.attrs[name]) is type(value)


@pytest.fixture
def grid():
    return {"kind": ["adapted", "straight"], "seed": [0, 1]}


@pytest.fixture
def tasks():
    return [orbit(3), orbit(5), None, orbit(1)]


def test_lengths_differ_and_every_task_comes_back(grid, tasks, tmp_path):
    combined = combine_tasks(tasks, grid, STUDY)
    validate(combined)
    read = open_results(save(combined, tmp_path / "a.nc"))
    assert read.identical(combined)
    for dataset in (combined, read):
        assert_same(select_task(dataset, kind="adapted", seed=0), tasks[0])
        assert_same(select_task(dataset, kind="adapted", seed=1), tasks[1])
        assert_same(select_task(dataset.sel(kind="straight"), seed=1), tasks[3])
        assert_same(select_task(dataset.sel(kind="straight", seed=1)), tasks[3])


def test_the_shape_of_the_combined_dataset(grid, tasks):
    combined = combine_tasks(tasks, grid, STUDY)
    assert combined.loss.dims == ("kind", "seed", "time_index")
    assert combined.time.dims == ("kind", "seed", "time_index")
    assert combined.time_length.values.tolist() == [[3, 5], [0, 1]]
    assert combined.time_index.values.tolist() == [0, 1, 2, 3, 4]
    # labels that agree up to their lengths stay coordinates
    assert combined.label.dims == ("sample",)
    assert "label" in combined.coords
    assert combined.sample_length.values.tolist() == [[3, 5], [0, 1]]
    assert combined.tau.dims == ()
    assert combined.weight.dims == ("kind", "seed", "sample")
    # what the tasks say of themselves, beside what the study says
    assert combined.attrs["function"] == "Study.run"
    assert combined.attrs["task_function"] == "flow"
    assert combined.task_seed.values.tolist()[0] == [3, 5]


def test_padding(grid, tasks):
    combined = combine_tasks(tasks, grid, STUDY).sel(kind="adapted", seed=0)
    assert combined["rank"].dtype == np.int64
    assert combined["rank"].values[3] == combined["rank"].attrs["padding_value"] == -(2**63)
    assert combined["count"].values[3] == combined["count"].attrs["padding_value"] == 255
    assert np.isnan(combined.loss.values[3:]).all()
    assert combined.loss.values[:3].tolist() == pytest.approx(np.exp([0, -0.5, -1]))
    assert combined.note.values.tolist() == ["step 0", "step 1", "step 2", "", ""]
    assert combined.lost.dtype == bool
    assert np.isnan(combined.field.values[4].imag)
    assert combined.single.dtype == np.float32


def test_equal_lengths_need_no_padding():
    same = combine_tasks([orbit(3), orbit(3)], {"seed": [0, 1]}, STUDY)
    assert same.loss.dims == ("seed", "time")
    assert "time" in same.coords
    assert "time_length" not in same
    assert "padding_value" not in same["rank"].attrs


def test_attributes_that_differ_become_variables():
    values = [
        {"status": "reached", "stopping_time": 1.5, "jumps": 3, "strict": True, "kind": "a"},
        {"status": "lost", "stopping_time": None, "jumps": 4, "strict": False, "kind": "a"},
        {"status": "", "stopping_time": 2, "jumps": 5, "strict": True, "kind": "a", "more": [1]},
        {"status": "x", "stopping_time": float("nan"), "jumps": 6, "strict": True, "kind": "a"},
    ]
    tasks = [orbit(2, **one) for one in values]
    combined = combine_tasks(tasks, {"width": [1, 2, 3, 4]}, STUDY)
    assert combined.status.values.tolist() == ["reached", "lost", "", "x"]
    np.testing.assert_array_equal(combined.stopping_time, [1.5, np.nan, 2, np.nan])
    assert combined.jumps.dtype == np.int64
    assert combined.strict.dtype == bool
    assert combined.attrs["kind"] == "a"
    for width, task in enumerate(tasks, start=1):
        back = select_task(combined, width=width)
        assert list(back.attrs) == list(task.attrs)
        for name, value in task.attrs.items():
            assert repr(back.attrs[name]) == repr(value)


def test_an_attribute_may_have_the_name_of_the_grid_or_of_a_variable():
    tasks = [orbit(2, width=0.1, loss=1), orbit(2, width=0.2, loss=2)]
    combined = combine_tasks(tasks, {"width": [1, 2]}, STUDY)
    assert combined.width.values.tolist() == [1, 2]
    assert combined.task_width.values.tolist() == [0.1, 0.2]
    assert_same(select_task(combined, width=2), tasks[1])


def test_variables_may_be_missing_and_types_differ():
    tasks = [orbit(2), orbit(3).drop_vars(["rank", "regime"]), orbit(2)]
    tasks[2]["loss"] = tasks[2]["loss"].astype("int32")
    combined = combine_tasks(tasks, {"seed": [0, 1, 2]}, STUDY)
    for seed, task in enumerate(tasks):
        assert_same(select_task(combined, seed=seed), task)


def test_datasets_without_labels_and_of_nothing():
    tasks = [xr.Dataset({"v": ("x", np.arange(n))}) for n in (2, 0, 3)]
    combined = combine_tasks(tasks, {"seed": [0, 1, 2]})
    for seed, task in enumerate(tasks):
        assert select_task(combined, seed=seed).identical(task)
    nothing = combine_tasks([None, None], {"seed": [0, 1]}, STUDY)
    validate(nothing)
    assert nothing.task_layout.values.tolist() == [-1, -1]


NUMBERS = st.lists(st.floats(allow_nan=True), max_size=4)


@given(
    columns=st.lists(st.none() | st.tuples(NUMBERS, st.text(max_size=3)), min_size=1, max_size=5),
    whole=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_any_lengths_come_back(columns, whole):
    tasks = []
    for column in columns:
        if column is None:
            tasks.append(None)
            continue
        values, note = column
        array = np.arange(len(values)) if whole else np.array(values, float)
        data = {"v": ("x", array), "square": (("x", "y"), np.stack([array, -array], axis=1))}
        tasks.append(xr.Dataset(data, {"x": values, "y": [0, 1]}, {"note": note}))
    combined = combine_tasks(tasks, {"seed": list(range(len(tasks)))})
    for seed, task in enumerate(tasks):
        if task is not None:
            back = select_task(combined, seed=seed)
            assert back.identical(task)
            assert back.v.dtype == task.v.dtype


def test_what_does_not_go_together_is_named(grid):
    good = orbit(2)
    scalar = good.assign(loss=good.loss.mean())
    text = good.assign(loss=("time", ["a", "b"]))
    taken = good.assign(task_status=1)
    problems = find_conflicts([good, None, good, scalar, text, taken], {"seed": range(6)})
    assert sorted(problems) == [3, 4, 5]
    assert "'loss' as numbers over (), the others as numbers over ('time',)" in problems[3]
    assert "'loss' as text" in problems[4]
    assert "'task_status', and that name is taken" in problems[5]
    with pytest.raises(InputError, match=r"\{'kind': 'straight', 'seed': 1\} has 'loss'"):
        combine_tasks([good, good, good, scalar], grid)
    with pytest.raises(InputError, match="expected 4 datasets"):
        combine_tasks([good], grid)
    with pytest.raises(InputError, match="'sample', and that name is taken"):
        combine_tasks([good], {"sample": [1]})


def test_selecting_what_is_not_there(grid, tasks):
    combined = combine_tasks(tasks, grid, STUDY)
    with pytest.raises(InputError, match=r"'kind': 'straight', 'seed': 0.*no dataset"):
        select_task(combined, kind="straight", seed=0)
    with pytest.raises(InputError, match=r"seed = 7 is not on the grid; it has \[0, 1\]"):
        select_task(combined, kind="straight", seed=7)
    with pytest.raises(InputError, match="expected a value for each of kind, seed, got kind"):
        select_task(combined, kind="straight")
    with pytest.raises(InputError, match="made by combine_tasks"):
        select_task(tasks[0], seed=0)
