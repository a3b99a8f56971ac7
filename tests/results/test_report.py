"""The report as a file: what stands in it, and what is left out."""

import base64
import json
import re
import sys

import numpy as np
import pytest
import xarray as xr

from subriem.errors import InputTypeError, MissingDependencyError, ResultsError
from subriem.results import combine_tasks, provenance, write_report
from subriem.results.report.figures import MOST_TASKS, figure_data
from subriem.results.report.packing import pack, thin
from subriem.results.report.tables import MOST_ROWS, failures, task_table, value_tables


def unpacked(variable):
    dtype = {"i4": "<i4", "f8": "<f8"}[variable["kind"]]
    values = np.frombuffer(base64.b64decode(variable["data"]), dtype)
    return values.reshape(variable["shape"])


def study(count, size=3, failed=()):
    tasks = [
        None
        if k in failed
        else xr.Dataset(
            {
                "height": ("time", np.arange(size) * 1.0 + k),
                "rank": ((), k),
                "proved": ((), bool(k % 2)),
            },
            {"time": np.arange(size)},
        )
        for k in range(count)
    ]
    whole = combine_tasks(tasks, {"seed": list(range(count))}, provenance("Study.run"))
    states = ["failed" if k in failed else "ok" for k in range(count)]
    whole["task_status"] = ("seed", states)
    whole["task_message"] = ("seed", ["no" * (k in failed) for k in range(count)])
    return whole


# ------------------------------------------------------------------ the numbers


def test_packed_numbers_are_those_of_the_dataset():
    rng = np.random.default_rng(0)
    dataset = xr.Dataset(
        {
            "real": (("a", "b"), rng.normal(size=(3, 4))),
            "whole": ("a", np.array([-(2**31), 0, 2**31 - 1])),
            "large": ("a", np.array([2**40, 0, 1])),
            "truth": ("a", [True, False, True]),
            "odd": ("a", [np.nan, np.inf, -np.inf]),
            "wave": ("a", np.array([1 + 2j, 0, -1j])),
            "wait": ("a", np.array([1, 2, 3], "timedelta64[m]"), {"long_name": "wait"}),
            "day": ("a", np.array(["2024-02-29", "2024-03-01", "NaT"], "M8[D]")),
            "padded": ("a", np.array([1, -9, 3]), {"padding_value": -9}),
        }
    )
    packed = pack(dataset)
    for name in ("real", "large", "odd"):
        assert packed[name]["kind"] == "f8"
        np.testing.assert_array_equal(unpacked(packed[name]), dataset[name].values)
    assert packed["whole"]["kind"] == "i4"
    np.testing.assert_array_equal(unpacked(packed["whole"]), dataset["whole"].values)
    assert packed["truth"]["truth"]
    np.testing.assert_array_equal(unpacked(packed["truth"]), [1, 0, 1])
    np.testing.assert_array_equal(unpacked(packed["wave (imaginary part)"]), [2, 0, -1])
    np.testing.assert_array_equal(unpacked(packed["wait"]), [60, 120, 180])
    assert packed["wait"]["label"] == "wait (s)"
    assert packed["day"]["data"][:2] == ["2024-02-29T00:00:00.000", "2024-03-01T00:00:00.000"]
    np.testing.assert_array_equal(unpacked(packed["padded"]), [1, np.nan, 3])


@pytest.mark.parametrize("sizes", [(10, 10), (400, 30), (40, 4_000), (70, 70, 70), (20_000,)])
def test_thinning_keeps_the_ends_and_the_budget(sizes):
    dims = [f"d{k}" for k in range(len(sizes))]
    coordinates = {dim: np.arange(size) for dim, size in zip(dims, sizes, strict=True)}
    dataset = xr.Dataset({"height": (dims, np.zeros(sizes))}, coordinates)
    fewer, notes = thin(dataset, 20_000)
    assert sum(variable.size for variable in fewer.variables.values()) <= 20_000
    thinned = [dim for dim in dims if dim in fewer.dims and fewer.sizes[dim] < dataset.sizes[dim]]
    for dim in (dim for dim in dims if dim in fewer.dims):
        values = fewer[dim].values
        assert (values[0], values[-1]) == (0, dataset.sizes[dim] - 1)
        steps = np.diff(values)
        assert steps.min() >= 1
        assert steps.max() - steps.min() <= 1
    # every loss is told
    left_out = [] if "height" in fewer else ["Not drawn"]
    assert len(notes) == len(thinned) + len(left_out)
    for dim, note in zip(thinned, notes, strict=False):
        assert note.startswith(f"{dim}: {fewer.sizes[dim]:,} of {dataset.sizes[dim]:,} points")


def test_what_is_left_out_is_named():
    _, notes = thin(xr.Dataset({"cube": (("a", "b", "c"), np.zeros((40, 40, 40)))}), 1_000)
    assert notes[-1] == "Not drawn, as too large for a page: cube."


def test_a_large_study_stays_small_and_says_so(tmp_path):
    whole = study(1_000, size=2_000, failed={7})
    data = figure_data(whole)
    assert len(data["results"]) == MOST_TASKS
    assert f"{MOST_TASKS} of 999 tasks" in data["notes"][0]
    shown = [number for number, place in enumerate(data["cells"]) if place >= 0]
    assert (shown[0], shown[-1], len(shown)) == (0, 999, MOST_TASKS)
    assert data["cells"][7] == -1
    assert data["messages"] == {"7": "no"}
    # the task that is shown is the task that is meant
    for number in shown[:: MOST_TASKS // 4]:
        variables = data["results"][data["cells"][number]]["variables"]
        assert unpacked(variables["rank"]) == number
        assert unpacked(variables["height"])[0] == number
    total = sum(
        np.prod(variable["shape"])
        for result in (*data["results"], data["across"])
        for variable in result["variables"].values()
    )
    assert total <= 200_000
    library = 5.2e6
    assert write_report(whole, tmp_path / "a.html").stat().st_size < library + 4e6


def test_over_the_grid_a_failed_task_has_no_value():
    across = figure_data(study(4, failed={1, 2}))["across"]["variables"]
    np.testing.assert_array_equal(unpacked(across["rank"]), [0, np.nan, np.nan, 3])
    np.testing.assert_array_equal(unpacked(across["proved"]), [0, np.nan, np.nan, 1])
    assert across["proved"]["truth"]
    assert across["task_status"]["data"] == ["ok", "failed", "failed", "ok"]
    assert not any(name.endswith("_length") or "layout" in name for name in across)


# ------------------------------------------------------------------ the tables


def test_tables_list_failures_first_and_say_what_is_cut():
    whole = study(1_000, failed={500})
    table = task_table(whole)
    assert table.columns == ["seed", "status", "rank", "proved"]
    assert table.rows[0] == ["500", "failed", "", ""]
    assert table.rows[1] == ["0", "ok", "0", "no"]
    assert table.rows[-1] == ["999", "ok", "999", "yes"]
    assert len(table.rows) == MOST_ROWS
    assert table.note == "200 of 1,000 tasks are shown."
    some = task_table(study(1_000, failed={3, 4, 998}))
    assert [row[:2] for row in some.rows[:4]] == [
        ["3", "failed"],
        ["4", "failed"],
        ["998", "failed"],
        ["0", "ok"],
    ]
    assert len(some.rows) == MOST_ROWS
    rows, count = failures(study(300, failed=set(range(250))))
    assert (len(rows), count) == (MOST_ROWS, 250)
    assert rows[3] == ("seed = 3", "failed: no")


def test_values_of_one_dimension_are_a_table_and_cut_ones_say_so():
    dataset = xr.Dataset(
        {"height": ("time", np.linspace(0, 1, 501), {"units": "m"}), "proved": True},
        {"time": np.arange(501)},
    )
    single, over = value_tables(dataset)
    assert single.rows == [["proved", "yes"]]
    assert over.columns == ["time", "height (m)"]
    assert (over.rows[0], over.rows[-1]) == (["0", "0"], ["500", "1"])
    assert over.note == "200 of 501 rows are shown."


# ------------------------------------------------------------------ the file


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    text = write_report(study(3), tmp_path / "a.html").read_text(encoding="utf-8")
    library = max(re.findall(r"<script>.*?</script>", text, re.DOTALL), key=len)
    own = text.replace(library, "")
    assert "plotly.js v" in library[:200]
    assert re.findall(r"https?://|//cdn|@import|url\(", own) == []
    assert re.findall(r'\b(?:src|href)="(?!#|data:,)', own) == []
    assert "default-src 'none'" in own


def test_a_page_holds_question_provenance_and_text_as_text(tmp_path):
    attributes = {
        **provenance("flow", {"kind": "a<b>", "start": None}, seed=7),
        "question": "Is x < y & y > 0?",
        "note": "</script><script>alert(1)</script>",
    }
    dataset = xr.Dataset({"</script>": ("t", [1.0, 2.0])}, attrs=attributes)
    text = write_report(dataset, tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Is x &lt; y &amp; y &gt; 0?" in text
    assert "<dt>argument kind</dt><dd>a&lt;b&gt;</dd>" in text
    assert "<dt>seed</dt><dd>7</dd>" in text
    assert text.count("<script") == 3
    assert "alert(1)</script>" not in text
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert list(json.loads(data)["results"][0]["variables"]) == ["</script>"]


def test_the_accessor_writes_it_too(tmp_path):
    array = xr.DataArray([1.0, 2.0], dims="point", name="length", attrs={"function": "distance"})
    path = array.subriem.report(tmp_path / "a.html")
    assert "<h1>distance</h1>" in path.read_text(encoding="utf-8")
    assert array.to_dataset().subriem.report(str(tmp_path / "b.html")) == tmp_path / "b.html"


def test_what_cannot_be_written_raises_and_leaves_the_old_page(tmp_path, monkeypatch):
    with pytest.raises(InputTypeError, match=r"expected an xarray\.Dataset, got ndarray"):
        write_report(np.zeros(3), tmp_path / "a.html")
    with pytest.raises(ResultsError, match=r"cannot write .*none"):
        write_report(xr.Dataset(), tmp_path / "none" / "a.html")
    page = tmp_path / "a.html"
    page.write_text("old")
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'subriem\[report\]'"):
        write_report(xr.Dataset(), page)
    assert page.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]
