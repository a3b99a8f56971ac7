import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from subriem.errors import InputError, InputTypeError
from subriem.study import Study, load_study


def test_points_run_the_last_name_fastest():
    study = Study("s", {"kind": ["a", "b"], "rate": [1, 0.5]})
    assert study.points() == [
        {"kind": "a", "rate": 1.0},
        {"kind": "a", "rate": 0.5},
        {"kind": "b", "rate": 1.0},
        {"kind": "b", "rate": 0.5},
    ]
    assert repr(study) == "Study('s', 4 tasks: kind 2, rate 2)"
    assert study.points(grid={"kind": ["c"]})[0] == {"kind": "c", "rate": 1.0}


def test_values_become_plain():
    study = Study("s", {"width": np.array([16, 64]), "strict": [np.bool_(True)], "seed": range(2)})
    point = study.points()[0]
    assert [type(value) for value in point.values()] == [int, bool, int]


@pytest.mark.parametrize(
    ("grid", "error", "message"),
    [
        ({}, InputError, "at least one name"),
        ({"kind": []}, InputError, "'kind' of study 's': expected at least one value"),
        ({"kind": "abc"}, InputTypeError, "expected a list of values, got 'abc'"),
        ({"kind": 3}, InputTypeError, "expected a list of values, got 3"),
        ({"kind": [1, "a"]}, InputTypeError, "all of one kind, got int, str"),
        ({"kind": [True, 1]}, InputTypeError, "all of one kind"),
        ({"kind": [None]}, InputTypeError, "got NoneType"),
        ({"kind": [1, 1]}, InputError, "1 comes twice"),
        ({"kind": [float("nan")]}, InputError, "NaN"),
        ({"kind": [2**64]}, InputError, "64 bits"),
        ({"time": [1]}, InputError, "'time' is reserved"),
        ({"task_status": [1]}, InputError, "reserved"),
        ({"a b": [1]}, InputError, "'a b' cannot be"),
        ([1], InputTypeError, "expected a mapping"),
    ],
)
def test_a_grid_that_cannot_be_right(grid, error, message):
    with pytest.raises(error, match=message):
        Study("s", grid)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": "a/b"}, InputError),
        ({"seed": -1}, InputError),
        ({"seed": 1.5}, InputTypeError),
        ({"threads_per_task": 0}, InputError),
    ],
)
def test_arguments_that_cannot_be_right(changes, error):
    with pytest.raises(error):
        Study(**{"name": "s", "grid": {"k": [1]}, **changes})


def test_the_task_must_fit_the_grid():
    study = Study("s", {"kind": ["a"]})
    with pytest.raises(InputError, match="no parameter 'kind'"):
        study.task(lambda width: None)
    with pytest.raises(InputError, match="'width' that the grid does not give"):
        study.task(lambda kind, width: None)
    study.task(lambda kind, seed, variant, width=3: None)
    with pytest.raises(InputError, match="has a task already"):
        study.task(lambda kind: None)


def test_variants_have_the_names_of_the_grid():
    study = Study("s", {"kind": ["a"]})
    study.variant("full", help="more")(lambda: {"kind": ["a", "b"]})
    study.variant("odd", help="other names")(lambda: {"width": [1]})
    assert len(study.points("full")) == 2
    with pytest.raises(InputError, match=r"variant 'odd' .* expected values for kind"):
        study.points("odd")
    with pytest.raises(InputError, match="no variant 'none'; it has full, odd"):
        study.points("none")
    with pytest.raises(InputError, match="has no 'width' in its grid"):
        study.points(grid={"width": [1]})
    for name in ("full", "out", "a b"):
        with pytest.raises(InputError, match="cannot be the name of a variant"):
            study.variant(name, help="")


def test_seeds_depend_on_the_point_and_on_nothing_else():
    small = Study("s", {"kind": ["a"], "width": [1, 2]}, seed=3)
    large = Study("t", {"width": [2, 1, 7], "kind": ["b", "a"]}, seed=3)
    seeds = {tuple(sorted(p.items())): large.task_seed(p) for p in large.points()}
    assert len(set(seeds.values())) == 6
    for point in small.points():
        assert small.task_seed(point) == seeds[tuple(sorted(point.items()))]
    assert Study("s", {"k": [1]}, seed=4).task_seed({"k": 1}) != large.task_seed({"k": 1})
    # frozen, since results of other sessions depend on it; and the same in every process
    code = "from subriem.study import Study; print(Study('s', {'k': ['a']}).task_seed({'k': 'a'}))"
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        assert int(done.stdout) == Study("s", {"k": ["a"]}).task_seed({"k": "a"}) < 2**32


def test_a_study_in_a_file_pickles(place):
    study = load_study(place.file)
    back = pickle.loads(pickle.dumps(study))
    assert repr(back) == repr(study) == "Study('walks', 4 tasks: kind 2, width 2)"
    assert study.file == place.file


def test_loading_says_what_is_wrong(tmp_path):
    for name, text, message in [
        ("none", "x = 1", r"expected one study .* found none"),
        ("broken", "1 / 0", r"broken\.py does not run: ZeroDivisionError"),
        ("syntax", "def", "does not run: SyntaxError"),
        (
            "two",
            "from subriem.study import Study\n"
            "a = Study('a', {'k': [1]})\nb = Study('b', {'k': [1]})",
            "found a, b",
        ),
    ]:
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            load_study(file)
    assert load_study(tmp_path / "two.py", "b").name == "b"
    with pytest.raises(OSError, match="there is no file"):
        load_study(tmp_path / "missing.py")
